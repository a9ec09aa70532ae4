//! Files that are no text, too large, or read other than they are.

use super::{Added, Damaged};
use crate::world::shipped;
use policy::{Refusal, SourceFile};

pub(super) const ADDED: &[Added] = &[
    ("byte order mark", "P1012", "zz.yaml", "§\u{feff}version: 1\n"),
    (
        "no-break space behind a colon",
        "P1012",
        "zz.yaml",
        "version:§\u{a0}1\n",
    ),
    (
        "zero-width space in a key",
        "P1012",
        "zz.yaml",
        "ver§\u{200b}sion: 1\n",
    ),
    (
        "bidirectional override in a comment",
        "P1012",
        "zz.yaml",
        "version: 1 # §\u{202e}reviewed\n",
    ),
    (
        "bidirectional isolate in a value",
        "P1012",
        "zz.yaml",
        "version: 1\nhosts: [\"a§\u{2066}b\"]\n",
    ),
    (
        "escape sequence in a comment",
        "P1012",
        "zz.yaml",
        "version: 1 # §\u{1b}[2J\n",
    ),
    (
        "line separator",
        "P1012",
        "zz.yaml",
        "version: 1 # a§\u{2028}hosts: [b]\n",
    ),
    ("NUL", "P1012", "zz.yaml", "version: 1§\0\n"),
    ("form feed", "P1012", "zz.yaml", "version: 1\n§\u{c}\n"),
    ("tag character", "P1012", "zz.yaml", "version: 1 # §\u{e0041}\n"),
    (
        "line ends of CR alone",
        "P1012",
        "zz.yaml",
        "version: 1§\rhosts: [a.example]\rfloor: {}\r",
    ),
    ("empty file", "P1005", "zz.yaml", ""),
    ("only comments", "P1005", "zz.yaml", "# nothing\n\n# here\n"),
    ("only the start of a document", "P1005", "zz.yaml", "---\n"),
    (
        "a template",
        "P1007",
        "zz.yaml",
        "version: 1\nhosts: [§{{ .Values.host }}]\n",
    ),
    (
        "a template around lines",
        "P1007",
        "zz.yaml",
        "version: 1\n§{% if prod %}\nhosts: [a]\n{% endif %}\n",
    ),
    (
        "a template within text",
        "P1007",
        "zz.yaml",
        "# {{ this }}\nversion: 1\nlabel: \"\\\"{{ as text\"\nhosts:\n  - api.§{{ domain }}\n",
    ),
    (
        "a template in place of a section",
        "P1007",
        "zz.yaml",
        "version: 1\n§{{- include \"floor\" . }}\nhosts: [a]\n",
    ),
    (
        "a key that a text swallows",
        "P1007",
        "zz.yaml",
        "version: 1\nroutes:\n  health:\n    because: >-\n      a load balancer has no token: none\n      §timeouts: { total: 1s }\n",
    ),
    (
        "a header that the one above swallows",
        "P1007",
        "zz.yaml",
        "version: 1\nheaders:\n  api:\n    set:\n      Content-Security-Policy: >-\n        default-src 'none'\n        §X-Content-Type-Options: nosniff\n",
    ),
    (
        "a pointer of Git LFS",
        "P1007",
        "zz.yaml",
        "§version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    ),
    (
        "a patch",
        "P1007",
        "zz.yaml",
        "§diff --git a/zz.yaml b/zz.yaml\n--- a/zz.yaml\n+++ b/zz.yaml\n@@ -1 +1 @@\n-version: 1\n+version: 1\n",
    ),
    (
        "a vault",
        "P1007",
        "zz.yaml",
        "§$ANSIBLE_VAULT;1.1;AES256\n3061\n",
    ),
];

/// Those that are no table of texts.
pub(super) fn damaged() -> Vec<Damaged> {
    encodings().chain(places()).chain(sizes()).map(damage).collect()
}

/// What it is, the code of the finding, the file, line and column.
type Case = (&'static str, &'static str, SourceFile, (u32, u32));

const NOWHERE: (u32, u32) = (0, 0);
const TEXT: &str = "version: 1\nhosts: [a]\n";

fn encodings() -> impl Iterator<Item = Case> {
    let read = |bytes: &[u8]| SourceFile::from_bytes("zz.yaml", bytes);
    let utf16 = |text: &str, order: fn(u16) -> [u8; 2]| {
        read(&text.encode_utf16().flat_map(order).collect::<Vec<u8>>())
    };
    let utf32 = |text: &str, order: fn(u32) -> [u8; 4]| {
        read(
            &text
                .chars()
                .flat_map(|letter| order(letter.into()))
                .collect::<Vec<u8>>(),
        )
    };
    let (low32, high32) = (u32::to_le_bytes, u32::to_be_bytes);
    let marked = format!("\u{feff}{TEXT}");
    let (low, high) = (u16::to_le_bytes, u16::to_be_bytes);
    [
        ("UTF-16 with a mark", utf16(&marked, low), (1, 1)),
        ("UTF-16 of the other order", utf16(&marked, high), (1, 1)),
        ("UTF-16 without a mark", utf16(TEXT, low), (1, 1)),
        (
            "UTF-16 of the other order without a mark",
            utf16(TEXT, high),
            (1, 1),
        ),
        ("UTF-32 with a mark", utf32(&marked, low32), (1, 1)),
        ("UTF-32 of the other order", utf32(&marked, high32), (1, 1)),
        ("UTF-32 without a mark", utf32(TEXT, low32), (1, 1)),
        (
            "UTF-32 of the other order without a mark",
            utf32(TEXT, high32),
            (1, 1),
        ),
        ("Latin-1", read(b"version: 1\n# caf\xe9\n"), (2, 6)),
        ("UTF-8 that is cut off", read(b"version: 1\n# caf\xc3"), (2, 6)),
        ("overlong UTF-8", read(b"version: 1 # \xc0\xaf\n"), (1, 14)),
        ("binary", read(b"\x7fELF\x02\x01\x01\0\0\xff\xfe\x80"), (1, 10)),
    ]
    .map(|(what, file, place)| (what, "P1011", file, place))
    .into_iter()
}

fn places() -> impl Iterator<Item = Case> {
    let hidden = SourceFile::new("zz\u{200b}.yaml", "version: 1\n");
    let refused = SourceFile::refused;
    [
        (
            "folder with the name of a file",
            "P1013",
            refused("zz.yaml", Refusal::NotAFile("a folder")),
            NOWHERE,
        ),
        (
            "pipe with the name of a file",
            "P1013",
            refused("zz.yaml", Refusal::NotAFile("a pipe")),
            NOWHERE,
        ),
        (
            "wrong ending",
            "P1013",
            refused("zz.yml", Refusal::WrongName),
            NOWHERE,
        ),
        (
            "editor's copy",
            "P1013",
            refused("floor.yaml~", Refusal::WrongName),
            NOWHERE,
        ),
        ("name that hides", "P1013", hidden, NOWHERE),
        (
            "name with a line break",
            "P1013",
            SourceFile::new("zz\nyy.yaml", TEXT),
            NOWHERE,
        ),
        (
            "name that reads as a line of another file",
            "P1013",
            SourceFile::new("floor.yaml:1:2.yaml", TEXT),
            NOWHERE,
        ),
        (
            "folders too deep",
            "P1014",
            refused("a/b/c/d/e/f/g/h/i", Refusal::TooDeep),
            NOWHERE,
        ),
        (
            "thousands of files",
            "P1014",
            refused("", Refusal::TooMany(1_000)),
            NOWHERE,
        ),
    ]
    .into_iter()
}

fn sizes() -> impl Iterator<Item = Case> {
    let file = |text: String| SourceFile::new("zz.yaml", format!("version: 1\n{text}"));
    let deep = |open: &str, close: &str, depth: usize| {
        file(format!("routes: {}{}\n", open.repeat(depth), close.repeat(depth)))
    };
    let many = |line: fn(usize) -> String, count: usize| (0..count).map(line).collect::<String>();
    let route =
        "routes:\n  a:\n    match: { method: GET, path: /a }\n    auth: none\n    serve: live\n    because: ";
    [
        (
            "10 MB",
            "P1001",
            SourceFile::from_bytes("zz.yaml", &vec![b'#'; 10 * 1024 * 1024]),
            NOWHERE,
        ),
        ("nested braces", "P1007", deep("{a: ", "}", 1_000), (2, 102)),
        ("nested brackets", "P1007", deep("[", "]", 10_000), (2, 33)),
        (
            "nested lines",
            "P1007",
            file(many(|depth| format!("{}a:\n", " ".repeat(depth)), 60)),
            (26, 25),
        ),
        (
            "key of 200 KB",
            "P1002",
            file(format!("{}: 1\n", "k".repeat(200_000))),
            (2, 1),
        ),
        (
            "value of 200 KB",
            "P2013",
            file(format!("{route}{}\n", "b".repeat(200_000))),
            (7, 14),
        ),
        (
            "number of 200 KB",
            "P1010",
            SourceFile::new("zz.yaml", format!("version: {}\n", "9".repeat(200_000))),
            (1, 10),
        ),
        (
            "more keys than are told",
            "P1004",
            file(many(|key| format!("k{key}: 1\n"), 25_000)),
            (2, 1),
        ),
        (
            "more than the parser may take",
            "P1007",
            file(format!("hosts: [{}]", many(|_| "a,".to_owned(), 120_000))),
            (2, 199_995),
        ),
    ]
    .into_iter()
}

fn damage((what, code, file, (line, column)): Case) -> Damaged {
    let name = file.name.clone();
    let mut files = shipped();
    files.push(file);
    Damaged {
        what: what.to_owned(),
        files,
        code,
        file: name,
        line,
        column,
    }
}
