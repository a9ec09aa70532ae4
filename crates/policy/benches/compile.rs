//! How long a policy takes to compile, and how long one takes to be refused that was written to take long.
//!
//! `cargo bench -p policy` prints the median of each; a bundle of 1,000 routes must stay well below 200 ms.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench that prints what it measured"
)]

use policy::{SourceFile, compile};
use std::time::{Duration, Instant};

const BASE: &str = r#"version: 1
listeners: { public: { https: { bind: "[::]:443", tls: { min: "1.3", certificate: a } } } }
hosts: [api.bank.example]
upstreams: { core: { address: unix:a.sock, authorization: forward, timeouts: { connect: 1s, read: 15s, total: 30s } } }
identity: { staff: { issuer: https://a.example, audiences: [a], algorithms: [EdDSA], type: at+jwt, max_lifetime: 1min, leeway: 1s, keys: portico } }
headers: { api: { set: { X-Frame-Options: DENY }, remove: [Server] } }
cors: { app: { origins: [https://a.example], methods: [GET, POST], headers: [Accept], expose: [Location], max_age: 1min } }
floor:
  limits: { head: 16KiB, headers: 64, target: 8KiB, body: 256KiB }
  timeouts: { head: 5s, body: 15s }
  rate: { per-address: { limit: 100/min, burst: 20, key: [address] } }
  headers: api
"#;

fn main() {
    measure("1,000 routes", &routes(1_000), true);
    measure("6,000 routes", &routes(6_000), true);
    measure("paths that meet", &intertwined(4_000), false);
    let lines = |line: fn(usize) -> String, count: usize| (0..count).map(line).collect::<String>();
    let filled = |begin: &str, line: fn(usize) -> String, count: usize| {
        format!("version: 1\n{begin}{}", lines(line, count))
    };
    // Each is as large as a file may be, and would be quadratic if the work for one line grew with the others.
    let hard: [(&str, String); 10] = [
        ("unknown keys", filled("", |key| format!("k{key}: 1\n"), 24_000)),
        (
            "keys twice",
            filled("", |key| format!("k{}: 1\n", key / 2), 24_000),
        ),
        (
            "names twice",
            filled("upstreams:\n", |name| format!("  n{name}: {{}}\n"), 18_000),
        ),
        (
            "undefined names",
            filled(
                "routes:\n",
                |name| {
                    format!(
                        "  n{name}: {{ match: {{ method: GET, path: /{name} }}, auth: x{name}, scopes: [], upstream: y{name} }}\n"
                    )
                },
                2_700,
            ),
        ),
        (
            "a long list",
            filled("hosts: [", |host| format!("h{host}.a, "), 26_000) + "]\n",
        ),
        (
            "networks",
            filled(
                "addresses:\n  a: [",
                |n| format!("{}.{}.{}.0/24, ", n / 65_536 + 1, n / 256 % 256, n % 256),
                16_000,
            ) + "]\n",
        ),
        (
            "anchors",
            filled("", |key| format!("a{key}: &a{key} 1\n"), 15_000),
        ),
        ("brackets", "[".repeat(250_000)),
        (
            "wrong in a line",
            filled(
                "routes: {",
                |n| format!("r{n}: {{match: {{method: GET, path: /r{n}}}, auth: nne}}, "),
                4_500,
            ) + "}\n",
        ),
        (
            "one line",
            filled("hosts: [\"", |_| "a".to_owned(), 250_000) + "\"]\n",
        ),
    ];
    for (what, text) in hard {
        let copies: Vec<SourceFile> = (0..8)
            .map(|copy| SourceFile::new(format!("{copy}.yaml"), text.clone()))
            .collect();
        measure(what, &copies, false);
    }
}

/// A whole bundle with so many routes, in files of a few hundred.
fn routes(count: usize) -> Vec<SourceFile> {
    let mut files = vec![SourceFile::new("base.yaml", BASE)];
    for (number, chunk) in (0..count).collect::<Vec<_>>().chunks(250).enumerate() {
        let routes = chunk.iter().map(|route| {
            format!(
                "  route_{route}:\n    match: {{ method: POST, path: \"/api/v1/group_{}/{{id}}/item_{route}\" }}\n    auth: staff\n    scopes: [\"group:{route}\"]\n    limits: {{ body: 8KiB }}\n    rate:\n      limit_{route}: {{ limit: 60/min, burst: 30, key: [subject, body./to] }}\n    cors: app\n    upstream: core\n",
                route % 50
            )
        });
        files.push(SourceFile::new(
            format!("routes/{number}.yaml"),
            format!("version: 1\nroutes:\n{}", routes.collect::<String>()),
        ));
    }
    files
}

/// As many routes of two kinds, each of which meets all of the other kind without ever ending where it ends.
fn intertwined(count: usize) -> Vec<SourceFile> {
    let mut files = vec![SourceFile::new("base.yaml", BASE)];
    for (number, chunk) in (0..count).collect::<Vec<_>>().chunks(250).enumerate() {
        let route = |name: &str, path: &str| {
            format!(
                "  {name}: {{ match: {{ method: GET, path: \"{path}\" }}, auth: staff, scopes: [], upstream: core }}\n"
            )
        };
        let routes = chunk.iter().flat_map(|n| {
            [
                route(&format!("a{n}"), &format!("/q/{{x}}/s{n}/{{y}}/e")),
                route(&format!("b{n}"), &format!("/q/S/{{p}}/t{n}/f")),
            ]
        });
        files.push(SourceFile::new(
            format!("routes/{number}.yaml"),
            format!("version: 1\nroutes:\n{}", routes.collect::<String>()),
        ));
    }
    files
}

fn measure(what: &str, files: &[SourceFile], is_good: bool) {
    let bytes: usize = files.iter().map(|file| file.text.len()).sum();
    let mut times: Vec<Duration> = (0..7)
        .map(|_| {
            let start = Instant::now();
            let compiled = compile(files, "production");
            let time = start.elapsed();
            if is_good {
                compiled
                    .map_err(|found| policy::render::human(&found, files))
                    .expect("a right bundle");
            } else {
                let found = compiled.expect_err("a wrong bundle");
                assert!(!policy::render::human(&found, files).is_empty(), "{what}");
            }
            time
        })
        .collect();
    times.sort();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!(
        "{what:>16}: {median:>10.1?} for {} KiB in {} files",
        bytes / 1_024,
        files.len()
    );
}
