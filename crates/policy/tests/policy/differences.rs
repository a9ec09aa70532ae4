//! `diff`: every effect is seen, no spelling is, and what opens is told from what closes.

use crate::{
    effects::{BASE, CHANGES, OVERLAY, OVERLAY_CHANGES, changed, files, replaced},
    world::{undescribed, undescribed_with},
};
use policy::{
    SourceFile,
    describe::{Description, describe},
    diff::{Change, Risk, Side, diff},
    format, render,
};
use proptest::{prelude::*, sample};
use std::collections::BTreeSet;

fn described(files: &[SourceFile], environment: &str) -> Description {
    describe(files, environment).unwrap_or_else(|found| panic!("{}", render::human(&found, files)))
}

pub(crate) fn differences(old: &[SourceFile], new: &[SourceFile], environment: &str) -> Vec<Change> {
    diff(&described(old, environment), &described(new, environment))
}

/// Without the line, which moves whenever somebody edits the shipped files.
fn line(change: &Change) -> String {
    let was = change
        .was
        .as_ref()
        .map(|was| format!(" (was {was})"))
        .unwrap_or_default();
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "—".to_owned());
    let followers = match change.followers.len() {
        0 => String::new(),
        followers => format!(", and {followers} that follow it"),
    };
    let side = match change.side {
        Side::Old => "old ",
        Side::New => "",
    };
    format!(
        "{:<8} {}{was}  {} → {}{followers}\n         {}\n         {side}{}\n",
        change.risk,
        change.key,
        value(&change.old),
        value(&change.new),
        change.consequence,
        change.place.file().unwrap_or_default(),
    )
}

/// What `diff` says about an edit of one shipped file, and about taking it back.
fn told(edits: &[(&str, &str, &str)]) -> String {
    told_of(&undescribed(), edits)
}

fn told_of(before: &[SourceFile], edits: &[(&str, &str, &str)]) -> String {
    let mut text = String::new();
    for (file, old, new) in edits {
        let after = edited(before.to_vec(), &[(file, old, new)]);
        text.push_str(&format!("## {old} → {new}\n"));
        for (title, changes) in [
            ("", differences(before, &after, "production")),
            ("and back\n", differences(&after, before, "production")),
        ] {
            text.push_str(title);
            text.extend(changes.iter().map(line));
        }
        text.push('\n');
    }
    text
}

#[test]
fn every_key_with_an_effect_is_compared_and_has_a_direction() {
    let before = files(BASE, OVERLAY);
    for (key, old, new) in CHANGES {
        let (base, overlay) = changed(key, old, new);
        let changes = differences(&before, &files(&base, overlay), "production");
        assert!(
            !changes.is_empty(),
            "diff does not see {key}: {old} → {new}: add it to src/describe/definitions.rs"
        );
        for change in changes {
            let has_no_row = change.consequence.contains("no direction that is known");
            assert!(!has_no_row, "{} has no row in src/diff/table.rs", change.key);
            let is_one_sided = change.consequence.contains("not there");
            assert!(!is_one_sided, "{}: describe its absence as a value", change.key);
        }
    }
    for (key, old, new) in OVERLAY_CHANGES {
        let after = files(BASE, &replaced(OVERLAY, old, new));
        let changes = differences(&before, &after, "development");
        assert!(!changes.is_empty(), "diff does not see {key}: {old} → {new}");
        assert!(differences(&before, &after, "production").is_empty(), "{key}");
    }
}

#[test]
fn who_may_call() {
    let edits = [
        (
            "routes/transfers.yaml",
            "auth: customers\n    scopes: [\"transfers:write\"]\n    limits: { body: 8KiB }\n    rate:\n      # By person, wherever the requests come from.\n      transfers: { limit: 60/min, burst: 30, key: [subject] }",
            "auth: none\n    because: everyone likes to be paid\n    rate:\n      transfers: { limit: 60/min, burst: 30, key: [address] }",
        ),
        ("routes/accounts.yaml", "scopes: [\"cash:write\"]", "scopes: []"),
        (
            "routes/accounts.yaml",
            "scopes: [\"accounts:write\"]",
            "scopes: [\"accounts:read\"]",
        ),
    ];
    let open = undescribed_with(
        "routes/documentation.yaml",
        "path: /docs/start.js",
        "path: \"/docs/{file}\"",
    );
    let inside = [(
        "routes/documentation.yaml",
        "routes:\n",
        "routes:\n  internal:\n    match: { method: GET, path: /docs/internal }\n    auth: customers\n    scopes: []\n    upstream: core\n",
    )];
    insta::assert_snapshot!(told_of(&undescribed(), &edits) + &told_of(&open, &inside));
}

#[test]
fn which_requests() {
    let edits = [
        ("routes/identity.yaml", "  me:\n", "  myself:\n"),
        ("routes/identity.yaml", "path: /api/v1/me ", "path: /api/v1/you "),
        (
            "routes/accounts.yaml",
            "path: \"/api/v1/accounts/{id}\" }",
            "path: \"/api/v1/accounts/{account}\" }",
        ),
        (
            "routes/documentation.yaml",
            "routes:\n",
            "routes:\n  lounge:\n    match: { method: GET, path: /api/v1/accounts/lounge }\n    auth: none\n    because: to see who notices\n    upstream: core\n",
        ),
    ];
    insta::assert_snapshot!(told(&edits));
}

#[test]
fn limits() {
    let failures =
        "      login-failures: { limit: 5/min, burst: 5, key: [address, body./email], count: failures }\n";
    let edits = [
        (
            "routes/identity.yaml",
            "login-failures: { limit: 5/min",
            "login-failures: { limit: 50/min",
        ),
        ("routes/identity.yaml", failures, ""),
        (
            "routes/identity.yaml",
            "key: [address, body./email]",
            "key: [body./email]",
        ),
        ("routes/identity.yaml", ", count: failures", ""),
        (
            "routes/identity.yaml",
            "login-attempts: { limit: 30/min, burst: 30",
            "login-attempts: { limit: 45/min, burst: 40",
        ),
        ("routes/identity.yaml", "login-failures:", "wrong-passwords:"),
        (
            "routes/identity.yaml",
            "refreshes: { limit: 30/min",
            "refreshes: { limit: 1800/h",
        ),
        ("floor.yaml", "body: 256KiB ", "body: 512KiB "),
        ("floor.yaml", "head: 5s ", "head: 50s "),
        (
            "routes/transfers.yaml",
            "limits: { body: 8KiB }",
            "limits: { body: 16KiB }",
        ),
    ];
    insta::assert_snapshot!(told(&edits));
}

#[test]
fn bursts_runaway_rates_and_closed_doors_stand_out() {
    let edits = [
        (
            "routes/identity.yaml",
            "limit: 5/min, burst: 5",
            "limit: 5/min, burst: 6",
        ),
        (
            "floor.yaml",
            "limit: 100/min, burst: 100",
            "limit: 9999/min, burst: 9999",
        ),
        (
            "floor.yaml",
            "limit: 100/min, burst: 100",
            "limit: 10000/min, burst: 10000",
        ),
        (
            "floor.yaml",
            "head: 16KiB   # request line and headers together; more is 431\n    headers: 64   # header lines; more is 431\n    target: 8KiB  # path and query; more is 414",
            "head: 2047B   # request line and headers together; more is 431\n    headers: 64   # header lines; more is 431\n    target: 1KiB  # path and query; more is 414",
        ),
        ("floor.yaml", "target: 8KiB", "target: 191B"),
        ("floor.yaml", "headers: 64", "headers: 3"),
    ];
    let mut text = told(&edits);
    // Somebody may come by IPv6, or no route would be left to reach.
    let base = replaced(
        BASE,
        "visitors: [203.0.113.0/24]",
        "visitors: [\"2001:db8::/32\"]",
    );
    let before = files(&base, OVERLAY);
    for denied in ["[0.0.0.0/1]", "[0.0.0.0/1, 128.0.0.0/1]"] {
        let after = files(&replaced(&base, "[198.51.100.0/24]", denied), OVERLAY);
        text.push_str(&format!("## {denied}\n"));
        text.extend(differences(&before, &after, "production").iter().map(line));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_limit_that_moves_counts_other_requests() {
    let before = undescribed();
    let mut after = undescribed_with(
        "routes/identity.yaml",
        "      refreshes: { limit: 30/min, burst: 30, key: [address] }\n",
        "",
    );
    let floor = after
        .iter_mut()
        .find(|file| file.name == "floor.yaml")
        .expect("the floor");
    floor.text = floor.text.replace(
        "  rate:\n",
        "  rate:\n    refreshes: { limit: 30/min, burst: 30, key: [address] }\n",
    );
    let identity = after
        .iter_mut()
        .find(|file| file.name == "routes/identity.yaml")
        .expect("routes");
    identity.text = identity.text.replace("    rate:\n    cors", "    cors");
    let there: String = differences(&before, &after, "production")
        .iter()
        .map(line)
        .collect();
    let back: String = differences(&after, &before, "production")
        .iter()
        .map(line)
        .collect();
    insta::assert_snapshot!(format!("{there}and back\n{back}"));
}

#[test]
fn listeners_upstreams_and_tokens() {
    let edits = [
        ("listeners.yaml", "min: \"1.2\"", "min: \"1.3\""),
        (
            "listeners.yaml",
            "bind: \"0.0.0.0:443\"",
            "bind: \"10.0.0.7:443\"",
        ),
        (
            "listeners.yaml",
            "listeners:\n",
            "listeners:\n  partners:\n    https: { bind: \"10.0.0.7:8443\", tls: { min: \"1.3\", certificate: partners } }\n    http: { bind: \"10.0.0.7:80\", redirect: https }\n",
        ),
        (
            "listeners.yaml",
            "[api.bank.example]",
            "[api.bank.example, api.partner.example]",
        ),
        ("upstreams.yaml", "unix:core-api.sock", "http://127.0.0.1:8000"),
        ("upstreams.yaml", "authorization: forward", "authorization: strip"),
        ("upstreams.yaml", "total: 30s", "total: 1min"),
        (
            "identity.yaml",
            "issuer: https://api.bank.example",
            "issuer: https://id.bank.example",
        ),
        (
            "identity.yaml",
            "audiences: [core-api]",
            "audiences: [core-api, other]",
        ),
        (
            "identity.yaml",
            "algorithms: [EdDSA, ES256]",
            "algorithms: [EdDSA]",
        ),
        ("identity.yaml", "type: at+jwt", "type: jwt"),
        ("identity.yaml", "max_lifetime: 15min", "max_lifetime: 1h"),
        ("identity.yaml", "leeway: 30s", "leeway: 2min"),
    ];
    insta::assert_snapshot!(told(&edits));
}

#[test]
fn headers_and_origins() {
    let edits = [
        ("headers.yaml", "      Referrer-Policy: no-referrer\n", ""),
        (
            "headers.yaml",
            "X-Frame-Options: DENY",
            "X-Frame-Options: SAMEORIGIN",
        ),
        (
            "headers.yaml",
            "max-age=63072000; includeSubDomains",
            "max-age=60",
        ),
        (
            "headers.yaml",
            "remove: [Server, X-Powered-By]\n\n",
            "remove: [Server]\n\n",
        ),
        (
            "routes/documentation.yaml",
            "    headers: docs\n    upstream: core\n\n  docs_styles",
            "    upstream: core\n\n  docs_styles",
        ),
        (
            "cors.yaml",
            "[https://app.bank.example]",
            "[https://app.bank.example, https://blog.example]",
        ),
        (
            "cors.yaml",
            "methods: [GET, POST, PATCH, DELETE]",
            "methods: [GET, POST, PUT, PATCH, DELETE]",
        ),
        (
            "cors.yaml",
            "    max_age: 10min",
            "    credentials: true\n    max_age: 1h",
        ),
        (
            "routes/operations.yaml",
            "serve: live",
            "cors: application\n    serve: live",
        ),
    ];
    // The floor's profile cannot lose a header while a route's own has it; the other way is no error.
    let told = told(&edits);
    insta::assert_snapshot!(told);
}

#[test]
fn lists_of_addresses_open_by_what_they_are_for() {
    let edits = [
        ("  deny_from: [blocked]\n", "\n"),
        ("[198.51.100.0/24]", "[198.51.100.0/25]"),
        ("[office, visitors]", "[office]"),
        ("[192.0.2.0/24]", "[192.0.2.0/24, 192.0.9.0/24]"),
        ("    allow_from: [office, visitors]\n", "\n"),
    ];
    let before = files(BASE, OVERLAY);
    let mut text = String::new();
    for (old, new) in edits {
        let mut base = replaced(BASE, old, new);
        for (reference, definition) in [
            ("deny_from: [", "  blocked: [198.51.100.0/24]\n"),
            ("visitors]", "  visitors: [203.0.113.0/24]\n"),
        ] {
            if !base.contains(reference) {
                base = replaced(&base, definition, "");
            }
        }
        let overlay = if base.contains("[office") {
            OVERLAY
        } else {
            "version: 1\nenvironment: development\n"
        };
        if overlay != OVERLAY {
            base = replaced(&base, "  office: [192.0.2.0/24]\n", "");
        }
        if !base.contains("blocked: [") && !base.contains("office: [") {
            base = replaced(&base, "addresses:\n", "");
        }
        let after = files(&base, overlay);
        text.push_str(&format!("## {} → {}\n", old.trim(), new.trim()));
        text.extend(differences(&before, &after, "production").iter().map(line));
        text.push_str("and back\n");
        text.extend(differences(&after, &before, "production").iter().map(line));
    }
    insta::assert_snapshot!(text);
}

/// What is written in another way: one file, and the words in it before and after.
const SPELLINGS: [(&str, &str, &str); 12] = [
    ("identity.yaml", "max_lifetime: 15min", "max_lifetime: 900s"),
    ("identity.yaml", "leeway: 30s", "leeway: 30000ms"),
    ("identity.yaml", "[EdDSA, ES256]", "[ES256, EdDSA]"),
    ("floor.yaml", "body: 256KiB", "body: 262144B"),
    (
        "floor.yaml",
        "per-address: { limit: 100/min, burst: 100, key: [address] }",
        "per-address: { key: [address], burst: 100, limit: 100/60s, count: requests }",
    ),
    (
        "routes/identity.yaml",
        "key: [address, body./email]",
        "key: [body./email, address]",
    ),
    (
        "routes/identity.yaml",
        "limits: { body: 8KiB }",
        "limits: { body: 8192B, headers: 64 }\n    headers: api",
    ),
    (
        "routes/transfers.yaml",
        "upstream: core",
        "timeouts: { connect: 1s, total: 30s }\n    upstream: core",
    ),
    (
        "cors.yaml",
        "    max_age: 10min",
        "    credentials: false\n    max_age: 600s",
    ),
    (
        "headers.yaml",
        "X-Frame-Options: DENY\n      Referrer-Policy: no-referrer",
        "referrer-policy: no-referrer\n      x-frame-options: \"DENY\"",
    ),
    (
        "routes/accounts.yaml",
        "# Accounts, their entries, and cash.",
        "# Something else.\n\n\n# In several lines.",
    ),
    (
        "upstreams.yaml",
        "timeouts: { connect: 1s, read: 15s, total: 30s }",
        "timeouts:\n      total: 30s\n      read: 15s\n      connect: 1000ms",
    ),
];

/// Edits that each change what is enforced, and none of which needs another.
const EDITS: [(&str, &str, &str); 16] = [
    ("identity.yaml", "type: at+jwt", "type: jwt"),
    ("identity.yaml", "issuer: https://api", "issuer: https://id"),
    ("floor.yaml", "target: 8KiB", "target: 7KiB"),
    ("floor.yaml", "burst: 100", "burst: 200"),
    (
        "routes/identity.yaml",
        "limit: 5/min, burst: 5",
        "limit: 9/min, burst: 5",
    ),
    ("routes/identity.yaml", "  me:\n", "  myself:\n"),
    (
        "routes/identity.yaml",
        "  logout:\n    match: { method: POST, path: /api/v1/auth/logout }",
        "  logout:\n    match: { method: POST, path: /api/v1/auth/leave }",
    ),
    ("routes/identity.yaml", "login-failures:", "wrong-passwords:"),
    ("routes/accounts.yaml", "[\"cash:write\"]", "[]"),
    (
        "routes/documentation.yaml",
        "    headers: docs\n    upstream: core\n\n",
        "    upstream: core\n\n",
    ),
    ("routes/operations.yaml", "serve: ready", "serve: live"),
    (
        "routes/transfers.yaml",
        "limits: { body: 8KiB }",
        "limits: { body: 9KiB }",
    ),
    (
        "headers.yaml",
        "Cache-Control: no-cache",
        "Cache-Control: no-store",
    ),
    ("cors.yaml", "[https://app.bank.example]", "[\"*\"]"),
    ("upstreams.yaml", "read: 15s", "read: 16s"),
    ("listeners.yaml", "min: \"1.2\"", "min: \"1.3\""),
];

type Edit = (&'static str, &'static str, &'static str);

fn edited(mut files: Vec<SourceFile>, edits: &[(&str, &str, &str)]) -> Vec<SourceFile> {
    for (name, old, new) in edits {
        let file = files
            .iter_mut()
            .find(|file| file.name == *name)
            .expect("a shipped file");
        file.text = replaced(&file.text, old, new);
    }
    files
}

/// Every route in a file of its own, and every file under another name, in another order.
fn rearranged(files: Vec<SourceFile>, seed: usize) -> Vec<SourceFile> {
    let mut moved = Vec::new();
    for file in files {
        match file.text.split_once("\nroutes:\n") {
            None => moved.push(file),
            Some((_, routes)) => {
                let mut parts: Vec<String> = Vec::new();
                for line in routes.lines() {
                    if line.starts_with("  ") && !line.starts_with("   ") {
                        parts.push("version: 1\nroutes:\n".to_owned());
                    }
                    if let Some(part) = parts.last_mut() {
                        part.push_str(&format!("{line}\n"));
                    }
                }
                let named = |(number, text): (usize, String)| {
                    SourceFile::new(format!("{}.{number}.yaml", file.name), text)
                };
                moved.extend(parts.into_iter().enumerate().map(named));
            }
        }
    }
    let turn = seed % moved.len();
    moved.rotate_left(turn);
    moved
}

fn some<T: Copy + std::fmt::Debug + 'static>(of: &'static [T]) -> impl Strategy<Value = Vec<T>> {
    sample::subsequence(of, 0..=of.len())
}

/// Every file in its canonical form.
pub(crate) fn printed(files: &[SourceFile]) -> Vec<SourceFile> {
    let canonical =
        |file: &SourceFile| SourceFile::new(&file.name, format(file).expect("what compiles has a form"));
    files.iter().map(canonical).collect()
}

fn environments() -> impl Strategy<Value = &'static str> {
    sample::select(vec!["development", "test", "production"])
}

proptest! {
    // Each case compiles whole bundles.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What is enforced in the same way is no difference, however it is written and wherever it stands.
    #[test]
    fn no_spelling_differs(edits in some(&EDITS), spellings in some(&SPELLINGS), seed in 0_usize..100, environment in environments()) {
        let bundle = edited(undescribed(), &edits);
        prop_assert_eq!(differences(&bundle, &bundle, environment), vec![]);
        let spellings: Vec<Edit> = spellings.into_iter().filter(|(file, old, _)| {
            bundle.iter().any(|there| there.name == *file && there.text.contains(old))
        }).collect();
        let other = rearranged(edited(bundle.clone(), &spellings), seed);
        prop_assert_eq!(differences(&bundle, &other, environment), vec![]);
        prop_assert_eq!(differences(&other, &bundle, environment), vec![]);
        // What is printed means what was parsed.
        prop_assert_eq!(differences(&bundle, &printed(&other), environment), vec![]);
    }

    /// From A to B and from B to A the same keys differ, with their values swapped; and different bundles differ, at
    /// least in production: another environment may have numbers of its own for what was changed.
    #[test]
    fn there_and_back_are_about_the_same_keys(a in some(&EDITS), b in some(&EDITS), environment in environments()) {
        let (old, new) = (edited(undescribed(), &a), edited(undescribed(), &b));
        let entries = |changes: Vec<Change>, is_back: bool| -> BTreeSet<[Option<String>; 4]> {
            let entry = |change: Change| {
                let was = change.was.unwrap_or_else(|| change.key.clone());
                if is_back {
                    [Some(was), Some(change.key), change.new, change.old]
                } else {
                    [Some(change.key), Some(was), change.old, change.new]
                }
            };
            changes.into_iter().map(entry).collect()
        };
        let there = entries(differences(&old, &new, environment), false);
        let back = entries(differences(&new, &old, environment), true);
        prop_assert_eq!(&there, &back);
        prop_assert!(there.is_empty() || a != b);
        prop_assert!(!there.is_empty() || a == b || environment != "production");
    }
}

/// What a change means is said for its direction.
#[test]
fn words_that_hold_in_one_direction_only_are_said_for_that_one() {
    let shared = ", count_in: store, on_store_down: ";
    let with = |end: &str| undescribed_with("floor.yaml", "key: [address] }", &format!("key: [{end} }}"));
    let origins = |list: &str| {
        undescribed_with(
            "cors.yaml",
            "origins: [https://app.bank.example]",
            &format!("origins: {list}"),
        )
    };
    let said = |old: &[SourceFile], new: &[SourceFile]| -> String {
        let found = differences(old, new, "production");
        let words = found
            .iter()
            .map(|change| format!("{:?}: {}", change.risk, change.consequence));
        words.collect::<Vec<_>>().join("\n")
    };
    let (plain, wide) = (with("address]"), with("address/48]"));
    assert!(said(&plain, &wide).contains("Low: ") && said(&plain, &wide).contains("of one /48 share"));
    assert!(said(&wide, &plain).contains("High: ") && said(&wide, &plain).contains("each IPv6 /64 has"));
    let allow = with(&format!("address]{shared}allow"));
    let deny = with(&format!("address]{shared}deny"));
    assert!(said(&plain, &allow).contains("High: every request: everything passes while the store is down"));
    assert!(said(&plain, &deny).contains("Low: every request: nothing passes while the store is down"));
    assert!(said(&allow, &plain).contains("Low: every request: no store is asked any more"));
    let any = origins("[\"*\"]");
    let (own, other) = (
        origins("[https://app.bank.example]"),
        origins("[https://other.example]"),
    );
    assert!(said(&own, &any).contains("High: pages of any origin may read answers"));
    assert!(said(&any, &own).contains("Low: only pages of https://app.bank.example may read answers"));
    assert!(
        said(&own, &other).contains("pages of https://other.example may read answers; pages of https://app")
    );
}

/// What only has one direction: if one way opens, the other closes.
#[test]
fn what_opens_one_way_closes_the_other() {
    let one_way = [
        ("identity.yaml", "leeway: 30s", "leeway: 31s"),
        ("identity.yaml", "[EdDSA]", "[EdDSA, ES256]"),
        ("floor.yaml", "body: 256KiB", "body: 257KiB"),
        ("floor.yaml", "burst: 100", "burst: 101"),
        ("routes/identity.yaml", "limit: 5/min", "limit: 6/min"),
        ("routes/transfers.yaml", "[\"transfers:write\"]", "[]"),
        ("upstreams.yaml", "authorization: strip", "authorization: forward"),
        ("listeners.yaml", "min: \"1.3\"", "min: \"1.2\""),
        ("listeners.yaml", "10.0.0.7:443", "0.0.0.0:443"),
        (
            "cors.yaml",
            "[GET, POST, PATCH, DELETE]",
            "[GET, POST, PUT, PATCH, DELETE]",
        ),
        ("headers.yaml", "      Referrer-Policy: no-referrer\n", ""),
    ];
    let tight = edited(
        undescribed(),
        &[
            ("identity.yaml", "[EdDSA, ES256]", "[EdDSA]"),
            ("upstreams.yaml", "authorization: forward", "authorization: strip"),
            ("listeners.yaml", "min: \"1.2\"", "min: \"1.3\""),
            ("listeners.yaml", "0.0.0.0:443", "10.0.0.7:443"),
        ],
    );
    for edit in one_way {
        let loose = edited(tight.clone(), &[edit]);
        let worst = |changes: Vec<Change>| changes.first().map(|change| change.risk);
        let (opens, closes) = (
            worst(differences(&tight, &loose, "production")),
            worst(differences(&loose, &tight, "production")),
        );
        assert!(opens >= Some(Risk::Medium), "{edit:?}: {opens:?}");
        assert!(
            closes <= Some(Risk::Low) && closes.is_some(),
            "{edit:?}: {closes:?}"
        );
    }
}

#[test]
fn another_name_for_a_definition_is_one_change_that_decides_nothing() {
    let renamings = [
        ("  customers:", "auth: customers", "identity.members", "members"),
        ("  application:", "cors: application", "cors.pages", "pages"),
        ("  docs:\n    set", "headers: docs", "headers.manual", "manual"),
        ("  core:", "upstream: core", "upstreams.bank", "bank"),
    ];
    for (definition, reference, key, name) in renamings {
        let mut after = undescribed();
        for file in &mut after {
            let word = definition.trim().split(':').next().expect("a name");
            let rest = definition
                .trim()
                .strip_prefix(word)
                .expect("what follows the name");
            file.text = file.text.replace(definition, &format!("  {name}{rest}"));
            let key = reference.split(' ').next().expect("a key");
            file.text = file.text.replace(reference, &format!("{key} {name}"));
        }
        let changes = differences(&undescribed(), &after, "production");
        let [change] = changes.as_slice() else {
            panic!("{key}: {}", changes.iter().map(line).collect::<String>())
        };
        assert_eq!((change.risk, change.key.as_str()), (Risk::Info, key));
    }
}

#[test]
fn a_change_in_an_overlay_is_at_its_line() {
    let after = undescribed_with(
        "environments/development.yaml",
        "limit: 600000/min",
        "limit: 700000/min",
    );
    let changes = differences(&undescribed(), &after, "development");
    let [change] = changes.as_slice() else {
        panic!("{changes:?}")
    };
    assert_eq!(change.key, "routes.login.rate.login-attempts.limit");
    assert_eq!(change.place.file(), Some("environments/development.yaml"));
    assert!(differences(&undescribed(), &after, "production").is_empty());
}
