//! The corpus of AWS's HTTP Desync Guardian, which says of each request how dangerous it is.

use anyhow::bail;
use serde_json::Value;

const FILES: [&str; 10] = [
    include_str!("../data/desync-guardian/acceptable.yaml"),
    include_str!("../data/desync-guardian/ambiguous.yaml"),
    include_str!("../data/desync-guardian/bad-header-characters.yaml"),
    include_str!("../data/desync-guardian/edge-cases.yaml"),
    include_str!("../data/desync-guardian/more-compliant-tests.yaml"),
    include_str!("../data/desync-guardian/real-life-test-cases.yaml"),
    include_str!("../data/desync-guardian/rfc-compliant.yaml"),
    include_str!("../data/desync-guardian/severe.yaml"),
    include_str!("../data/desync-guardian/single-case.yaml"),
    include_str!("../data/desync-guardian/uri-specific-test-cases.yaml"),
];

/// How dangerous a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// As the RFCs have it.
    Compliant,
    /// Against them, and read by all in one way.
    Acceptable,
    /// Read in several ways.
    Ambiguous,
    /// An attack.
    Severe,
}

impl Tier {
    /// Whether it must not be passed on.
    #[must_use]
    pub const fn is_dangerous(self) -> bool {
        matches!(self, Self::Ambiguous | Self::Severe)
    }
}

/// One request of the corpus.
#[derive(Debug)]
pub struct Entry {
    /// What it tries.
    pub name: String,
    /// How dangerous it is.
    pub tier: Tier,
    /// The whole request.
    pub bytes: Vec<u8>,
}

/// All of them.
///
/// # Errors
/// When a file is not what the corpus has.
pub fn corpus() -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for file in FILES {
        let cases: Vec<Value> = serde_yaml::from_str(file)?;
        for case in &cases {
            entries.push(entry(case)?);
        }
    }
    Ok(entries)
}

/// The corpus writes bytes as characters: `\xff` is one byte.
fn latin1(text: &str) -> Vec<u8> {
    text.chars()
        .map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?'))
        .collect()
}

/// A member, or null.
fn member<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn entry(case: &Value) -> anyhow::Result<Entry> {
    let line = format!(
        "{} {} {}",
        text(member(case, "method")),
        text(member(case, "uri")),
        text(member(case, "version"))
    );
    let mut bytes = latin1(line.trim_end_matches(' '));
    bytes.extend(b"\r\nHost: localhost\r\n");
    let mut has_chunks = false;
    let mut length = 0;
    for field in member(case, "headers").as_array().into_iter().flatten() {
        let (name, value) = (text(member(field, "name")), text(member(field, "value")));
        if name.eq_ignore_ascii_case("host") {
            continue;
        }
        has_chunks |=
            name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked");
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
        bytes.extend([latin1(&name), b": ".to_vec(), latin1(&value), b"\r\n".to_vec()].concat());
    }
    bytes.extend(b"\r\n");
    if has_chunks {
        bytes.extend(b"0\r\n\r\n");
    } else {
        bytes.extend(vec![b'a'; usize::min(length, 4_096)]);
    }
    let tier = text(member(member(case, "expected"), "tier"));
    Ok(Entry {
        name: text(member(case, "name")),
        tier: match tier.as_str() {
            "Compliant" => Tier::Compliant,
            "Acceptable" => Tier::Acceptable,
            "Ambiguous" => Tier::Ambiguous,
            "Severe" => Tier::Severe,
            other => bail!("a tier that nobody knows: {other}"),
        },
        bytes,
    })
}
