//! The questions of `docs/policy-questions.md`, and the commands that answer them: `policy diff` and `policy show`.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PAGE: &str = include_str!("../../docs/policy-questions.md");

/// A directory with the shipped policies, a commit of them before an edit, and what a gateway runs with.
struct Workplace {
    directory: tempfile::TempDir,
}

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Workplace {
    /// The shipped policies in `policies/`, as the last commit, and as what a gateway runs with.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let work = Self { directory };
        copy(&root().join("policies"), &work.path("policies"));
        work.git(&["init", "--quiet"]);
        work.commit();
        work.put_in_force();
        work
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn git(&self, arguments: &[&str]) {
        let status = Command::new("git")
            .args([
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@b.example",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(arguments)
            .env_remove("GIT_DIR")
            .current_dir(self.directory.path())
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn commit(&self) {
        self.git(&["add", "policies"]);
        self.git(&["commit", "--quiet", "--no-verify", "--message", "policies"]);
    }

    /// Writes what the gateway would keep as its last good bundle.
    fn put_in_force(&self) {
        let files: Vec<serde_json::Value> = gateway::read_policies(&self.path("policies"))
            .unwrap()
            .into_iter()
            .map(|file| serde_json::json!({"name": file.name, "text": file.text}))
            .collect();
        let kept = self.path(".portico/gateway/policy");
        fs::create_dir_all(&kept).unwrap();
        fs::write(
            kept.join("last-good.json"),
            serde_json::json!({ "files": files }).to_string(),
        )
        .unwrap();
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.path("policies").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} does not contain `{from}`");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    fn portico(&self, arguments: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_portico"))
            .args(arguments)
            .env_remove("APP_ENV")
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The commands of the page, each with its answer.
fn questions() -> Vec<(String, String)> {
    let blocks = PAGE.split("```console\n").skip(1);
    let block = |block: &str| {
        let text = block.split("```").next().unwrap();
        let (command, answer) = text.split_once('\n').unwrap();
        let command = command.strip_prefix("$ portico ").expect("one command");
        (command.to_owned(), answer.to_owned())
    };
    blocks.map(block).collect()
}

/// Words of a command line; single quotes hold spaces together.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            letter => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Without what moves when somebody edits or adds a policy file: numbers of lines and files, and the width of columns.
fn essence(line: &str) -> String {
    let mut text = String::new();
    let mut is_number = false;
    for letter in line
        .trim_start_matches(|letter: char| letter.is_ascii_digit())
        .chars()
    {
        is_number = letter.is_ascii_digit() && (is_number || text.ends_with(".yaml:"));
        if !is_number {
            text.push(letter);
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_question_of_the_page_is_answered_as_it_says() {
    let work = Workplace::new();
    // What the page shows as not deployed yet.
    work.edit(
        "routes/identity.yaml",
        "login-failures: { limit: 5/min",
        "login-failures: { limit: 50/min",
    );
    work.edit(
        "routes/accounts.yaml",
        "scopes: [\"accounts:write\"]",
        "scopes: []",
    );
    let edited = work;
    let shipped = Workplace::new();
    let questions = questions();
    assert!(
        questions.len() >= 10,
        "the page lost its questions: {}",
        questions.len()
    );
    for (command, answer) in questions {
        let place = if command.starts_with("policy diff") {
            &edited
        } else {
            &shipped
        };
        let said = place.portico(&words(&command).iter().map(String::as_str).collect::<Vec<_>>());
        assert!(
            said.err.is_empty() && said.code < Some(2),
            "{command}: {}",
            said.err
        );
        let printed: Vec<String> = said.out.lines().map(essence).collect();
        assert!(!answer.trim().is_empty(), "{command} has no answer in the page");
        for line in answer.lines().filter(|line| line.trim() != "…") {
            assert!(
                printed.contains(&essence(line)),
                "{command} does not print `{line}`:\n{}",
                said.out
            );
        }
    }
}

#[test]
fn no_difference_is_0_and_a_difference_is_1_from_the_chosen_risk_on() {
    let work = Workplace::new();
    for same in [
        &["policy", "diff", "policies", "policies"][..],
        &["policy", "diff", "--running"],
        &["policy", "diff", "git:HEAD"],
        &["policy", "diff", "git:HEAD:policies", "--env", "all"],
        &["policy", "diff", "git:HEAD", "git:HEAD:policies"],
    ] {
        let said = work.portico(same);
        assert_eq!(said.code, Some(0), "{same:?}: {}{}", said.out, said.err);
        assert!(said.out.contains("no difference"), "{}", said.out);
    }
    work.edit(
        "routes/identity.yaml",
        "limit: 5/min, burst",
        "limit: 50/min, burst",
    );
    for old in [
        &["--running"][..],
        &["git:HEAD"],
        &["git:HEAD:policies", "policies"],
    ] {
        let with = |more: &[&str]| work.portico(&[&["policy", "diff"][..], old, more].concat());
        let said = with(&[]);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(
            said.out.contains("high") && said.out.contains("guessing becomes 10 times as fast"),
            "{}",
            said.out
        );
        assert!(
            said.out.contains("policies/routes/identity.yaml:"),
            "{}",
            said.out
        );
        assert_eq!(with(&["--fail-on", "high"]).code, Some(1));
        assert_eq!(with(&["--fail-on", "critical"]).code, Some(0));
    }
    let said = work.portico(&["policy", "diff", "git:HEAD", "--format", "json"]);
    let said: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let [difference] = said["differences"].as_array().unwrap().as_slice() else {
        panic!("{said}")
    };
    assert_eq!(difference["key"], "routes.login.rate.login-failures.limit");
    assert_eq!(
        (&difference["old"], &difference["new"]),
        (&"5/min".into(), &"50/min".into())
    );
    assert_eq!(difference["risk"], "high");
}

#[test]
fn an_overlay_differs_only_where_it_counts() {
    let work = Workplace::new();
    work.edit(
        "environments/development.yaml",
        "limit: 600000/min",
        "limit: 700000/min",
    );
    assert_eq!(work.portico(&["policy", "diff", "git:HEAD"]).code, Some(0));
    let all = work.portico(&["policy", "diff", "git:HEAD", "--env", "all"]);
    assert_eq!(all.code, Some(1), "{}", all.err);
    assert!(all.out.contains("only in development"), "{}", all.out);
    // Of two overlays only one is there: nothing to compare, and it is said.
    fs::remove_file(work.path("policies/environments/test.yaml")).unwrap();
    let all = work.portico(&["policy", "diff", "git:HEAD", "--env", "all"]);
    assert!(all.err.contains("test: only one of the two"), "{}", all.err);
    // While it runs, a system says for which environment.
    fs::write(
        work.path(".portico/endpoints.json"),
        serde_json::json!({
            "gateway_https": "https://localhost:1", "gateway_http": null, "console": null, "ca_cert": "ca.pem",
            "metrics": {}, "database_url": "", "pid": 1, "environment": "development",
        })
        .to_string(),
    )
    .unwrap();
    let running = work.portico(&["policy", "diff", "--running"]);
    assert_eq!(running.code, Some(1), "{}{}", running.out, running.err);
}

#[test]
fn what_cannot_be_compared_is_2_and_says_why() {
    let work = Workplace::new();
    let elsewhere = tempfile::tempdir().unwrap();
    copy(&work.path("policies"), &elsewhere.path().join("policies"));
    let outside = elsewhere.path().join("policies");
    let outside = outside.to_str().unwrap();
    for (arguments, because) in [
        (&[][..], "give an old bundle"),
        (&["--running", "a", "b"], "give the new one only"),
        (&["no-such-directory"], "no-such-directory"),
        (&["git:no-such-revision"], "no such revision"),
        (&["git:--version"], "not a revision"),
        (&["git:HEAD:no/such/path"], "no directory at this revision"),
        (&["git:HEAD", outside], "not in a git repository"),
        (&["--running", "--data-dir", "nowhere"], "no data directory"),
        (&["policies", "policies", "--env", "prodction"], "prodction"),
        (&["policies", "policies", "--fail-on", "bad"], "critical"),
        (&["policies", "policies", "--data-dir", "x"], "--running"),
    ] {
        let said = work.portico(&[&["policy", "diff"][..], arguments].concat());
        assert_eq!(said.code, Some(2), "{arguments:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(because), "{arguments:?}: {}", said.err);
        assert!(said.out.is_empty(), "{arguments:?}: {}", said.out);
    }
    work.edit("floor.yaml", "head: 16KiB", "head: 16");
    let said = work.portico(&["policy", "diff", "git:HEAD"]);
    assert_eq!(said.code, Some(2), "{}", said.out);
    assert!(
        said.err.contains("policies does not compile")
            && said.err.contains("floor.yaml:")
            && said.err.contains('^'),
        "{}",
        said.err
    );
    fs::remove_dir_all(work.path(".portico/gateway")).unwrap();
    let said = work.portico(&["policy", "diff", "--running"]);
    assert_eq!(said.code, Some(2), "{}", said.out);
    assert!(
        said.err.contains("no gateway has put a policy in force"),
        "{}",
        said.err
    );
}

#[test]
fn an_answer_names_every_deciding_line_also_the_one_of_the_overlay() {
    let work = Workplace::new();
    let said = work.portico(&[
        "policy",
        "show",
        "limits",
        "--route",
        "login",
        "--env",
        "development",
        "--format",
        "json",
    ]);
    let limits: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let limits = limits.as_array().unwrap();
    let names: Vec<&str> = limits
        .iter()
        .map(|limit| limit["limit"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["per-address", "login-attempts", "login-failures"]);
    let decided = |index: usize| limits[index]["decided_at"].as_str().unwrap();
    assert!(
        decided(0).starts_with("environments/development.yaml:"),
        "{}",
        decided(0)
    );
    assert!(decided(0).contains("(base: floor.yaml:"), "{}", decided(0));
    assert!(decided(2).starts_with("routes/identity.yaml:"), "{}", decided(2));
    assert_eq!(limits[2]["counts"], "failures");
}

#[test]
fn a_question_about_what_is_not_there_is_2() {
    let work = Workplace::new();
    for (arguments, because) in [
        (&["routes", "--auth", "custmers"][..], "did you mean `customers`?"),
        (&["routes", "--route", "logn"], "did you mean `login`?"),
        (&["limits", "--route", "logn"], "login"),
        (&["headers", "--route", "logn"], "login"),
        (&["cors", "--route", "login"], "--route"),
        (&["routes", "nowhere"], "nowhere"),
    ] {
        let said = work.portico(&[&["policy", "show"][..], arguments].concat());
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.out);
        assert!(said.err.contains(because), "{arguments:?}: {}", said.err);
    }
    work.edit("floor.yaml", "head: 16KiB", "head: 16");
    let said = work.portico(&["policy", "show", "routes"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    assert!(said.err.contains("policies does not compile"), "{}", said.err);
}

/// A small bundle, so that these answers do not change with the shipped policies.
#[test]
fn answers_read_well() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("policies");
    fs::create_dir_all(place.join("environments")).unwrap();
    fs::write(place.join("all.yaml"), SMALL).unwrap();
    fs::write(place.join("environments/test.yaml"), OVERLAY).unwrap();
    let work = Workplace { directory };
    let mut text = String::new();
    for question in [
        "routes",
        "routes --auth none",
        "routes --route pay",
        "routes --route me",
        "routes --client 192.0.2.7",
        "routes --client 203.0.113.7",
        "routes --client 198.51.100.1",
        "waivers",
        "limits",
        "limits --route pay --env test",
        "headers",
        "headers --route docs",
        "identity",
        "cors",
        "scopes",
        "addresses",
        "upstreams",
        "listeners --env test",
        "routes --auth none --format json",
    ] {
        let arguments = words(&format!("policy show {question}"));
        let said = work.portico(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(said.code, Some(0), "{question}: {}", said.err);
        text.push_str(&format!("$ portico policy show {question}\n{}\n", said.out));
    }
    insta::assert_snapshot!(text);
}

const SMALL: &str = r#"version: 1
listeners:
  public:
    http: { bind: "0.0.0.0:80", redirect: https }
    https: { bind: "0.0.0.0:443", tls: { min: "1.3", certificate: gateway } }
hosts: [api.bank.example]
addresses:
  office: [192.0.2.0/24]
  blocked: [198.51.100.0/24, "2001:db8::/32"]
upstreams:
  core: { address: unix:core.sock, authorization: forward, timeouts: { connect: 1s, read: 15s, total: 30s } }
identity:
  customers:
    issuer: https://api.bank.example
    audiences: [core-api]
    algorithms: [EdDSA, ES256]
    type: at+jwt
    max_lifetime: 900s
    leeway: 30s
    keys: portico
headers:
  api: { set: { X-Frame-Options: SAMEORIGIN }, remove: [Server] }
  docs: { set: { X-Frame-Options: DENY }, remove: [Server, Via] }
cors:
  application: { origins: [https://app.example], methods: [GET, POST], headers: [Authorization], expose: [RateLimit], max_age: 10min }
floor:
  limits: { head: 16KiB, headers: 64, target: 8KiB, body: 256KiB }
  timeouts: { head: 5s, body: 15s }
  deny_from: [blocked]
  rate:
    per-address: { limit: 100/min, burst: 20, key: [address] }
  headers: api
routes:
  pay:
    match: { method: POST, path: /payments }
    auth: customers
    scopes: ["pay:write", "pay:now"]
    limits: { body: 8KiB }
    timeouts: { total: 10s }
    rate:
      payments: { limit: 7/min, burst: 7, key: [subject, body./to], count: failures }
    cors: application
    upstream: core
  me:
    match: { method: GET, path: /me }
    auth: customers
    scopes: []
    allow_from: [office]
    upstream: core
  docs:
    match: { method: GET, path: /docs }
    auth: none
    because: the description of a public API is public
    headers: docs
    upstream: core
"#;

const OVERLAY: &str = r#"version: 1
environment: test
listeners:
  public:
    https: { bind: "127.0.0.1:0" }
hosts: [localhost]
rates:
  per-address: { limit: 6000/min, burst: 1000, because: tests come from one address }
"#;

/// The rows of an answer, as JSON.
fn rows(work: &Workplace, question: &str) -> Vec<serde_json::Value> {
    let arguments = words(&format!("policy show {question} --format json"));
    let said = work.portico(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(said.code, Some(0), "{question}: {}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

#[test]
fn waivers_are_listed_the_first_to_end_first() {
    let work = Workplace::new();
    let waiver = |name: &str, until: &str, key: &str| {
        format!("  {name}: {{ rule: A1301, at: {key}, because: for a while, until: {until} }}\n")
    };
    let text = [
        "version: 1\nwaivers:\n".to_owned(),
        waiver("later", "2999-01-31", "routes.login"),
        waiver("over", "2020-01-31", "routes.logout"),
    ];
    fs::write(work.path("policies/waivers.yaml"), text.concat()).unwrap();
    let waivers = rows(&work, "waivers");
    let column = |name: &str| {
        waivers
            .iter()
            .map(|row| row[name].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(column("waiver"), ["over", "later"]);
    assert_eq!(column("ends")[0], "EXPIRED");
    assert!(column("ends")[1].starts_with("in "), "{waivers:?}");
    assert_eq!(column("reason"), ["for a while", "for a while"]);
}

#[test]
fn what_runs_is_asked_about_like_a_directory() {
    let work = Workplace::new();
    work.edit(
        "routes/identity.yaml",
        "login-failures: { limit: 5/min",
        "login-failures: { limit: 50/min",
    );
    let failures = |question: &str| {
        let limits = rows(&work, question);
        let failures = limits.iter().find(|row| row["limit"] == "login-failures");
        failures.unwrap()["pace"].clone()
    };
    assert_eq!(failures("limits --route login"), "50/min");
    assert_eq!(failures("limits --route login --running"), "5/min");
    assert_eq!(failures("limits git:HEAD --route login"), "5/min");
    let hash = |more: &[&str]| {
        let arguments = [
            &["policy", "explain", "--path", "/health", "--format", "json"][..],
            more,
        ]
        .concat();
        let said = work.portico(&arguments);
        let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        told["bundle"].as_str().unwrap().to_owned()
    };
    assert_eq!(hash(&["--running"]), hash(&["--policies", "git:HEAD"]));
    assert_ne!(hash(&["--running"]), hash(&[]));
    let said = work.portico(&["policy", "show", "routes", "policies", "--running"]);
    assert_eq!(said.code, Some(2), "{}", said.out);
}

#[test]
fn a_gateway_that_runs_by_itself_is_asked_by_its_state_folder() {
    let work = Workplace::new();
    fs::rename(work.path(".portico/gateway"), work.path("state")).unwrap();
    work.edit("floor.yaml", "head: 16KiB", "head: 15KiB");
    let of_gateway = ["--running", "--state-dir", "state"];
    let ask = |question: &[&str]| work.portico(&[&["policy"][..], question, &of_gateway].concat());
    let meaning = "running: what the gateway last put in force, kept in state";
    for (question, code, answer) in [
        (&["diff"][..], 1, "floor.limits.head"),
        (&["show", "limits"], 0, "login-failures"),
        (&["explain", "--path", "/health"], 0, "decision  permit"),
    ] {
        let said = ask(question);
        assert_eq!(said.code, Some(code), "{question:?}: {}", said.err);
        assert!(
            said.out.contains(answer) && said.out.contains(meaning),
            "{question:?}: {}",
            said.out
        );
    }
    for (arguments, because) in [
        (&["--running", "--data-dir", "state"][..], "--state-dir"),
        (&["--running", "--state-dir", "policies"], "--state-dir"),
        (&["--state-dir", "state"], "--running"),
        (
            &["--running", "--state-dir", "state", "--data-dir", "."],
            "cannot be used with",
        ),
    ] {
        for question in [&["diff"][..], &["show", "limits"], &["explain", "--path", "/"]] {
            let said = work.portico(&[&["policy"][..], question, arguments].concat());
            assert_eq!(
                (said.code, said.out.as_str()),
                (Some(2), ""),
                "{question:?} {arguments:?}"
            );
            assert!(said.err.contains(because), "{arguments:?}: {}", said.err);
        }
    }
}

#[test]
fn a_limit_that_only_watches_or_is_shared_is_shown_as_such() {
    let work = Workplace::new();
    work.edit(
        "routes/identity.yaml",
        "login-failures: { limit: 5/min, burst: 5,",
        "login-failures: { limit: 5/min, burst: 5, mode: shadow, count_in: store, on_store_down: local,",
    );
    let limits = rows(&work, "limits --route login");
    let of = |limit: &str, name: &str| {
        let row = limits.iter().find(|row| row["limit"] == limit).unwrap();
        row[name].as_str().unwrap_or_default().to_owned()
    };
    for (limit, mode, count_in, down) in [
        ("login-failures", "shadow", "store", "local"),
        ("login-attempts", "enforce", "gateway", "none"),
    ] {
        assert_eq!(
            ["mode", "count_in", "on_store_down"].map(|name| of(limit, name)),
            [mode, count_in, down]
        );
    }
    let route = rows(&work, "routes --route login");
    let value = |key: &str| {
        let row = route.iter().find(|row| row["key"] == key).unwrap();
        row["value"].as_str().unwrap().to_owned()
    };
    let told = value("rate.login-failures");
    assert!(
        told.ends_with("mode shadow, counted in store, on store down local"),
        "{told}"
    );
    let told = value("rate.login-attempts");
    assert!(told.ends_with("mode enforce, counted in gateway"), "{told}");
}

#[test]
fn two_environments_of_one_bundle_are_compared() {
    let work = Workplace::new();
    let between = |more: &[&str]| {
        let arguments = [
            &["policy", "diff", "--from", "production", "--to", "development"][..],
            more,
        ]
        .concat();
        work.portico(&[&arguments[..], &["--format", "json"]].concat())
    };
    for bundle in [&[][..], &["policies"], &["--running"], &["git:HEAD"]] {
        let said = between(bundle);
        assert_eq!(said.code, Some(1), "{bundle:?}: {}", said.err);
        let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let differences = told["differences"].as_array().unwrap();
        let of_floor = differences
            .iter()
            .find(|one| one["key"] == "floor.rate.per-address.limit");
        assert_eq!(of_floor.unwrap()["old"], "100/min", "{bundle:?}");
    }
    let same = work.portico(&["policy", "diff", "--from", "production", "--to", "production"]);
    assert_eq!(same.code, Some(0), "{}{}", same.out, same.err);
    for wrong in [
        &["--from", "production"][..],
        &["--from", "a", "--to", "b", "--env", "c"],
    ] {
        assert_eq!(
            work.portico(&[&["policy", "diff"][..], wrong].concat()).code,
            Some(2),
            "{wrong:?}"
        );
    }
}
