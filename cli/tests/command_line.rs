//! What the commands say and which exit codes they end with: 0 done, 1 findings or failure, 2 wrong usage or
//! unreadable input.
#![cfg(test)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn portico(arguments: &[&str]) -> Said {
    portico_with(arguments, &[])
}

fn portico_with(arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_portico"))
        .args(arguments)
        .env_remove("APP_ENV")
        .env_remove("DATABASE_URL")
        .envs(variables.iter().copied())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A copy of the shipped policies with one file changed.
fn policies_with(file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies"),
        directory.path(),
    );
    let path = directory.path().join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} does not contain `{from}`");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
    directory
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

#[test]
fn help_teaches_and_wrong_usage_is_2() {
    let help = portico(&["--help"]);
    assert_eq!(help.code, Some(0));
    for command in [
        "up",
        "gateway",
        "control-plane",
        "core-api",
        "migrate",
        "policy",
        "keys",
        "kek",
        "openapi",
        "doctor",
        "prove",
    ] {
        assert!(
            help.out.contains(&format!("  {command} ")),
            "{command} is missing:\n{}",
            help.out
        );
        let of_command = portico(&[command, "--help"]);
        assert_eq!(of_command.code, Some(0), "{command}");
    }
    assert!(portico(&["up", "--help"]).out.contains("Examples:"));
    assert_eq!(portico(&["--version"]).code, Some(0));

    for wrong in [
        &[][..],
        &["dance"],
        &["up", "--https-port", "70000"],
        &["up", "--tail=gatewy"],
        &["policy"],
        &["keys", "rotate", "--ring", "tokens"],
        &["keys", "revoke"],
        &["kek", "rewrap", "--batch", "0"],
        &["kek", "retire", "one"],
    ] {
        assert_eq!(portico(wrong).code, Some(2), "{wrong:?}");
    }
    assert_eq!(portico_with(&["up"], &[("APP_ENV", "prod")]).code, Some(2));
}

#[test]
fn good_policies_pass_in_every_environment() {
    let said = portico(&["policy", "check"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    for environment in ["development", "test", "production"] {
        assert!(said.out.contains(environment), "{}", said.out);
    }
}

#[test]
fn a_typo_in_a_policy_is_1_with_its_place() {
    let directory = policies_with("routes/identity.yaml", "auth: customers", "auht: customers");
    let place = directory.path().to_str().unwrap();
    let said = portico(&["policy", "check", place]);
    assert_eq!(said.code, Some(1), "{}", said.out);
    assert!(
        said.out.contains("routes/identity.yaml:") && said.out.contains("auht"),
        "{}",
        said.out
    );

    let said = portico(&["policy", "check", place, "--format", "json"]);
    assert_eq!(said.code, Some(1));
    let findings: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let finding = &findings.as_array().unwrap()[0];
    assert_eq!(finding["file"], "routes/identity.yaml");
    assert!(finding["line"].as_u64().unwrap() > 1, "{finding}");

    let explained = portico(&["policy", "explain", "--path", "/api/v1/me", "--policies", place]);
    assert_eq!(explained.code, Some(2), "{}", explained.out);
}

#[test]
fn policies_that_are_not_there_are_2() {
    assert_eq!(portico(&["policy", "check", "no-such-directory"]).code, Some(2));
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(
        portico(&["policy", "check", empty.path().to_str().unwrap()]).code,
        Some(2)
    );
    let wrong_header = [
        "policy",
        "explain",
        "--path",
        "/api/v1/me",
        "--header",
        "no colon",
    ];
    assert_eq!(portico(&wrong_header).code, Some(2));
}

const WAIVER: &str = "version: 1\nwaivers:\n  busy: { rule: A1301, at: floor.rate.per-address.limit, because: we are busy, until: ";

#[test]
fn an_expired_waiver_is_1_in_check_and_one_that_holds_is_0() {
    let check = |until: &str, format: &str| {
        let directory = policies_with("floor.yaml", "version: 1", &format!("{WAIVER}{until} }}"));
        portico(&[
            "policy",
            "check",
            directory.path().to_str().unwrap(),
            "--format",
            format,
        ])
    };
    assert_eq!(check("9999-12-31", "human").code, Some(0));
    let expired = check("2020-01-31", "human");
    assert_eq!(expired.code, Some(1), "{}", expired.out);
    assert!(
        expired.out.contains("error[P6004]") && expired.out.contains("floor.yaml:5:"),
        "{}",
        expired.out
    );

    let today = service_runtime::clock::Clock::system().now();
    let last_day = check(&today.format("%Y-%m-%d").to_string(), "json");
    let findings: serde_json::Value = serde_json::from_str(&last_day.out).unwrap();
    // Past midnight between the two looks at the clock, it is an error.
    let is_told = findings[0]["code"] == "P6005" && last_day.code == Some(0);
    assert!(is_told || findings[0]["code"] == "P6004", "{findings}");
}

#[test]
fn the_shipped_policies_pass_the_audit_and_weak_ones_fail_at_their_severity() {
    let shipped = portico(&["policy", "audit", "--fail-on", "low"]);
    assert_eq!(shipped.code, Some(0), "{}", shipped.out);
    assert!(
        shipped.out.contains("open: nothing") && shipped.out.contains("12 of 12"),
        "{}",
        shipped.out
    );
    assert_eq!(portico(&["policy", "audit", "--fail-on", "info"]).code, Some(1));

    let directory = policies_with("identity.yaml", "max_lifetime: 15min", "max_lifetime: 8h");
    let place = directory.path().to_str().unwrap();
    let audit = |more: &[&str]| portico(&[&["policy", "audit", place][..], more].concat());
    let said = audit(&[]);
    assert_eq!(said.code, Some(0), "a medium finding fails only when asked to");
    assert!(
        said.out.contains("medium[A1201]") && said.out.contains("identity.yaml:13:19"),
        "{}",
        said.out
    );
    assert_eq!(audit(&["--fail-on", "medium"]).code, Some(1));
    assert_eq!(audit(&["--fail-on", "terrible"]).code, Some(2));

    let said = audit(&["--format", "json"]);
    let audited: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(audited["findings"][0]["rule"], "A1201");
    assert_eq!(audited["environment"], "production");
}

#[test]
fn what_does_not_compile_or_is_not_there_is_not_audited() {
    let directory = policies_with("floor.yaml", "burst:", "brust:");
    let said = portico(&["policy", "audit", directory.path().to_str().unwrap()]);
    assert_eq!(said.code, Some(2), "{}", said.out);
    assert!(said.out.contains("error[P1004]"), "{}", said.out);
    assert!(said.err.contains("nothing to audit"), "{}", said.err);
    assert_eq!(portico(&["policy", "audit", "no-such-directory"]).code, Some(2));
}

#[test]
fn sarif_names_files_as_the_repository_does() {
    let first = |command: &str, directory: &str| {
        let said = portico(&["policy", command, directory, "--format", "sarif"]);
        let log: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let place = &log["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        place["artifactLocation"]["uri"].as_str().unwrap().to_owned()
    };
    assert_eq!(first("audit", "./policies"), "policies/headers.yaml");
    let directory = policies_with("floor.yaml", "burst:", "brust:");
    let place = directory.path().to_str().unwrap();
    assert_eq!(first("check", place), "floor.yaml");
    assert_eq!(first("audit", place), "floor.yaml");
}

#[test]
fn the_shipped_cases_pass_and_cover_every_route() {
    let said = portico(&["policy", "test"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let is_one_line = said.out.trim_end().lines().count() == 1;
    let summary = "cases pass; every route has a permit and a deny case";
    assert!(
        is_one_line && said.out.trim_end().ends_with(summary),
        "{}",
        said.out
    );

    let some = portico(&["policy", "test", "--filter", "sixth-wrong-password"]);
    assert_eq!((some.code, some.out.trim_end()), (Some(0), "1 case passes"));
    for nothing in [
        &["policy", "test", "--filter", "wrong-pasword"][..],
        &["policy", "test", "--env", "prod"],
    ] {
        assert_eq!(portico(nothing).code, Some(2), "{nothing:?}");
    }
}

#[test]
fn a_case_that_fails_is_1_with_its_place_and_every_phase() {
    let directory = policies_with(
        "routes/transfers.yaml",
        "\"transfers:write\"",
        "\"transfers:writes\"",
    );
    let place = directory.path().to_str().unwrap();
    let said = portico(&["policy", "test", place]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    for part in [
        "tests/transfers.yaml:6:3: a-customer-pays fails in production",
        "decision: expected permit, got deny with 403",
        "authorization   refused   routes/transfers.yaml:9 routes.create_transfer.scopes",
    ] {
        assert!(said.out.contains(part), "no {part:?} in {}", said.out);
    }
    let said = portico(&["policy", "test", place, "--format", "json"]);
    assert_eq!(said.code, Some(1));
    let report: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["failures"][0]["differences"][0]["expected"], "permit");
}

#[test]
fn a_route_without_cases_is_1_with_a_case_to_paste() {
    let directory = policies_with(
        "routes/transfers.yaml",
        "routes:\n",
        "routes:\n  pay_out:\n    match: { method: POST, path: /pay-out }\n    auth: customers\n    \
         scopes: [\"cash:write\"]\n    openapi: none\n    upstream: core\n\n",
    );
    let said = portico(&["policy", "test", directory.path().to_str().unwrap()]);
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    assert!(said.out.contains("no case permits `pay_out`"), "{}", said.out);
    assert!(said.out.contains("`pay_out-needs-a-token: {"), "{}", said.out);
}

#[test]
fn a_broken_case_is_told_by_check_and_stops_the_test() {
    let directory = policies_with("tests/transfers.yaml", "expect:", "exepct:");
    let place = directory.path().to_str().unwrap();
    let checked = portico(&["policy", "check", place]);
    assert_eq!(checked.code, Some(1), "{}", checked.out);
    for part in ["policy files are right", "did you mean `expect`?", "in the cases"] {
        assert!(checked.out.contains(part), "no {part:?} in {}", checked.out);
    }
    let tested = portico(&["policy", "test", place]);
    assert_eq!(tested.code, Some(2), "{}", tested.out);
    assert!(tested.out.contains("tests/transfers.yaml:"), "{}", tested.out);

    let directory = policies_with("floor.yaml", "100/min", "100");
    let broken = portico(&["policy", "test", directory.path().to_str().unwrap()]);
    assert_eq!(broken.code, Some(2), "{}", broken.out);
    assert!(broken.out.contains("P2003"), "{}", broken.out);
}

#[test]
fn explain_names_the_line_that_decided() {
    let refused = portico(&["policy", "explain", "--path", "/api/v1/me"]);
    assert_eq!(refused.code, Some(0), "{}", refused.err);
    assert!(refused.out.contains("deny with 401"), "{}", refused.out);
    assert!(refused.out.contains("routes/identity.yaml:"), "{}", refused.out);

    let permitted = portico(&[
        "policy",
        "explain",
        "--path",
        "/api/v1/me",
        "--subject",
        "usr_1",
        "--format",
        "json",
    ]);
    let permitted: serde_json::Value = serde_json::from_str(&permitted.out).unwrap();
    assert_eq!(
        (&permitted["decision"], &permitted["route"]),
        (&"permit".into(), &"me".into())
    );

    let poor = [
        "policy",
        "explain",
        "--path",
        "/api/v1/accounts",
        "--subject",
        "usr_1",
        "--format",
        "json",
    ];
    let poor: serde_json::Value = serde_json::from_str(&portico(&poor).out).unwrap();
    assert_eq!(poor["status"], 403, "{poor}");

    let log_in = [
        "policy",
        "explain",
        "--method",
        "POST",
        "--path",
        "/api/v1/auth/login",
        "--format",
        "json",
    ];
    let log_in = [
        &log_in[..],
        &[
            "--header",
            "content-type: application/json",
            "--body",
            r#"{"email":"a@b.example"}"#,
        ],
    ];
    let spent = [&log_in.concat()[..], &["--exhausted=login-failures"]].concat();
    let spent: serde_json::Value = serde_json::from_str(&portico(&spent).out).unwrap();
    assert_eq!(spent["status"], 429, "{spent}");
    assert!(
        spent["rule"].as_str().unwrap().contains("login-failures"),
        "{spent}"
    );
    let typo = portico(&[&log_in.concat()[..], &["--exhausted=login-failure"]].concat());
    assert_eq!(typo.code, Some(2), "{}", typo.out);
    assert!(typo.err.contains("login-failures"), "{}", typo.err);
}

#[test]
fn all_that_is_wrong_in_settings_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("core-api.yaml");
    fs::write(&file, "sokcet: a\ndatabase: {max_connections: many}\n").unwrap();
    let said = portico(&[
        "core-api",
        "--settings",
        file.to_str().unwrap(),
        "--check-settings",
    ]);
    assert_eq!(said.code, Some(78), "{}", said.err);
    for fault in ["sokcet", "database.max_connections", "kek"] {
        assert!(said.err.contains(fault), "{fault} is missing in\n{}", said.err);
    }
}

#[test]
fn secrets_are_checked_without_starting_anything_and_without_printing_them() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let check = |settings: &str, more: &[&str]| {
        fs::write(at("core-api.yaml"), settings).unwrap();
        let file = at("core-api.yaml");
        portico(&[&["secrets", "check", "--settings", file.to_str().unwrap()], more].concat())
    };
    fs::write(at("pepper"), "hunter2-hunter2").unwrap();
    let pepper = format!("file:{}", at("pepper").display());
    let missing = format!("file://{}#url", at("none").display());

    let good = check(&format!("password: {{pepper: '{pepper}'}}\n"), &[]);
    assert_eq!(good.code, Some(0), "{}{}", good.out, good.err);
    assert!(good.out.contains("core-api: password.pepper"), "{}", good.out);
    assert!(good.out.contains("1 good, 0 missing"), "{}", good.out);

    let settings = format!(
        "password: {{pepper: '{pepper}'}}\ndatabase: {{url: '{missing}'}}\nkek: vault://kv/bank#kek\n"
    );
    let bad = check(&settings, &["--format", "json"]);
    assert_eq!(bad.code, Some(1), "{}{}", bad.out, bad.err);
    let report: serde_json::Value = serde_json::from_str(&bad.out).unwrap();
    assert_eq!(
        (
            report["found"].as_array().unwrap().len(),
            report["missing"].as_array().unwrap().len()
        ),
        (1, 2)
    );
    assert!(
        bad.out.contains("No such file") && bad.out.contains("add `secrets.vault`"),
        "{}",
        bad.out
    );
    for said in [&good, &bad] {
        assert!(!said.out.contains("hunter2"), "{}", said.out);
    }

    let wrong = check(
        "secrets: {vault: {address: 'http://vault', auth: {token_file: /none}}}\n",
        &[],
    );
    assert_eq!(wrong.code, Some(78), "{}", wrong.err);
    assert!(wrong.err.contains("https://"), "{}", wrong.err);
    assert_eq!(
        portico(&["secrets", "check", "--settings", "/none.yaml"]).code,
        Some(2)
    );
}

#[test]
fn the_openapi_document_is_printed() {
    let said = portico(&["openapi"]);
    assert_eq!(said.code, Some(0));
    let document: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    assert!(document["paths"]["/api/v1/transfers"]["post"].is_object());
}

#[test]
fn commands_for_a_running_system_say_that_none_runs() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let closed = portico(&["secrets", "status", "--address", "127.0.0.1:1"]);
    assert_eq!(closed.code, Some(2), "{}", closed.err);
    assert!(closed.err.contains("is the service running?"), "{}", closed.err);
    let said = portico(&["keys", "list", "--data-dir", missing.to_str().unwrap()]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.err.trim().lines().count(), 1, "{}", said.err);
    assert!(said.err.contains("portico up"), "{}", said.err);

    assert_eq!(portico(&["migrate"]).code, Some(2));
    let unreachable = [("DATABASE_URL", "postgresql://nobody:hunter2@127.0.0.1:1/none")];
    let said = portico_with(&["migrate"], &unreachable);
    assert_eq!(said.code, Some(1));
    assert!(!said.err.contains("hunter2"), "{}", said.err);
}

#[test]
fn the_doctor_gives_a_fix_for_what_fails() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let sick = portico(&[
        "doctor",
        "--data-dir",
        data,
        "--https-port",
        &port,
        "--http-port",
        "0",
    ]);
    assert_eq!(sick.code, Some(1), "{}", sick.out);
    assert!(
        sick.out.contains("fail  port") && sick.out.contains("→"),
        "{}",
        sick.out
    );

    let well = portico(&[
        "doctor",
        "--data-dir",
        data,
        "--https-port",
        "0",
        "--http-port",
        "0",
    ]);
    assert_eq!(well.code, Some(0), "{}", well.out);
}

#[test]
fn up_refuses_in_one_line_before_anything_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let ports = ["--https-port", "0", "--http-port", "0"];
    let up = |data_dir: &str, more: &[&str]| {
        portico(&[&["up", "--data-dir", data_dir][..], &ports, more].concat())
    };

    // A directory that nobody can make, root included.
    let said = up("/proc/portico", &[]);
    assert_eq!(
        (said.code, said.err.trim().lines().count()),
        (Some(1), 1),
        "{}",
        said.err
    );
    assert!(said.err.contains("/proc/portico"), "{}", said.err);

    let broken = policies_with("floor.yaml", "version: 1", "version: 7");
    let said = up(
        data.to_str().unwrap(),
        &["--policies", broken.path().to_str().unwrap()],
    );
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.contains("floor.yaml:") && said.err.contains("nothing is started"),
        "{}",
        said.err
    );
    assert!(!data.join("postgres").exists() && !data.join("endpoints.json").exists());
}

#[test]
fn an_unknown_environment_is_2_and_the_known_ones_are_named() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    let folder = folder.to_str().unwrap();
    for command in [
        &["check", folder][..],
        &["test", folder],
        &["audit", folder],
        &["show", "routes", folder],
        &["explain", "--path", "/", "--policies", folder],
        &["diff", folder, folder],
    ] {
        let asked = [&["policy"][..], command, &["--env", "staging"]].concat();
        let said = portico(&asked);
        assert_eq!(
            (said.code, said.out.as_str()),
            (Some(2), ""),
            "{command:?}: {}",
            said.err
        );
        assert!(
            said.err
                .contains("there is no environment `staging`, only development, production, test"),
            "{command:?}: {}",
            said.err
        );
        let json = portico(&[&asked[..], &["--format", "json"]].concat());
        assert!(
            json.code == Some(2) && json.out.contains("staging"),
            "{command:?}: {}",
            json.out
        );
        serde_json::from_str::<serde_json::Value>(&json.out).unwrap();
    }
    let sarif = portico(&["policy", "check", folder, "--env", "staging", "--format", "sarif"]);
    assert!(
        sarif.code == Some(2) && sarif.out.contains("P4001"),
        "{}",
        sarif.out
    );
    let ambient = portico_with(&["policy", "check", folder], &[("APP_ENV", "staging")]);
    assert_eq!(ambient.code, Some(2), "{}", ambient.out);
}

#[test]
fn names_in_cases_are_checked_whichever_environment_is_chosen() {
    for (from, to) in [
        ("{ provider: customers,", "{ provider: custmers,"),
        ("route: create_transfer", "route: nosuch"),
        ("rule: routes.create_transfer.auth", "rule: routes.nosuch.auth"),
    ] {
        let directory = policies_with("tests/transfers.yaml", from, to);
        let place = directory.path().to_str().unwrap();
        for (arguments, variables) in [
            (&["policy", "check", place][..], &[][..]),
            (&["policy", "check", place, "--env", "production"], &[]),
            (&["policy", "check", place], &[("APP_ENV", "development")]),
        ] {
            let said = portico_with(arguments, variables);
            assert_eq!(
                said.code,
                Some(1),
                "{to} {arguments:?} {variables:?}: {}",
                said.out
            );
            assert!(said.out.contains("P3001"), "{to}: {}", said.out);
        }
    }
}

#[test]
fn what_cannot_be_read_is_a_document_for_those_who_wait_for_one() {
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().unwrap();
    for directory in ["no/such/folder", empty] {
        for question in [
            &["policy", "diff", directory, directory][..],
            &["policy", "show", "routes", directory],
            &["policy", "explain", "--policies", directory, "--path", "/"],
        ] {
            let said = portico(&[question, &["--format", "json"]].concat());
            let document: serde_json::Value = serde_json::from_str(&said.out).unwrap();
            let error = document["error"].as_str().unwrap_or_default();
            assert!(
                said.code == Some(2) && error.contains(directory),
                "{question:?}: {}",
                said.out
            );
        }
        let test = portico(&["policy", "test", directory, "--format", "json"]);
        let findings: serde_json::Value = serde_json::from_str(&test.out).unwrap();
        assert_eq!(
            (test.code, &findings[0]["code"]),
            (Some(2), &"P1013".into()),
            "{}",
            test.out
        );
        for command in ["check", "audit"] {
            let json = portico(&["policy", command, directory, "--format", "json"]);
            let findings: serde_json::Value = serde_json::from_str(&json.out).unwrap();
            assert_eq!(
                (json.code, &findings[0]["code"]),
                (Some(2), &"P1013".into()),
                "{}",
                json.out
            );
            // As every finding about a whole file.
            assert_eq!(
                (&findings[0]["line"], &findings[0]["column"]),
                (&0.into(), &0.into())
            );
            let sarif = portico(&["policy", command, directory, "--format", "sarif"]);
            let log: serde_json::Value = serde_json::from_str(&sarif.out).unwrap();
            let result = &log["runs"][0]["results"][0];
            assert_eq!(
                (sarif.code, &result["ruleId"]),
                (Some(2), &"P1013".into()),
                "{}",
                sarif.out
            );
            let human = portico(&["policy", command, directory]);
            assert!(
                human.out.is_empty() && human.err.contains(directory),
                "{}",
                human.err
            );
        }
    }
}

#[test]
fn a_report_that_is_lost_is_no_success() {
    for arguments in [
        &["policy", "check"][..],
        &["policy", "audit"],
        &["policy", "audit", "--format", "json"],
        &["policy", "show", "routes"],
        &["policy", "test"],
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_portico"))
            .args(arguments)
            .env_remove("APP_ENV")
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .stdin(Stdio::null())
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("standard output"), "{arguments:?}: {said}");
    }
}

/// A list as Have I Been Pwned publishes it: `password` and `hunter2`, sorted by SHA-1.
const BREACHED: &str =
    "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:9545824\r\nF3BBBD66A63D4BF1747940578EC3D0103530E21D:17043\r\n";

#[test]
fn a_file_of_breached_passwords_is_made_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("list"), BREACHED).unwrap();
    let build = |list: &str| {
        portico(&[
            "breach",
            "build",
            "--in",
            list,
            "--min-count",
            "20000",
            "--out",
            &path("breached"),
        ])
    };
    let made = build(&path("list"));
    assert_eq!(made.code, Some(0), "{}", made.err);
    assert!(
        made.out.contains("1 of 2 passwords, seen 20000 times or more"),
        "{}",
        made.out
    );
    let checked = portico(&["breach", "check", &path("breached")]);
    assert_eq!(checked.code, Some(0), "{}", checked.err);
    assert!(checked.out.contains("whole; 1 passwords"), "{}", checked.out);

    // A bad line is told, and the file from before stays.
    let before = fs::read(path("breached")).unwrap();
    fs::write(path("bad"), format!("{BREACHED}x\n{BREACHED}")).unwrap();
    let refused = build(&path("bad"));
    assert_eq!(refused.code, Some(1));
    for fault in [
        "line 3: is too short",
        "line 4: is out of order",
        "3 bad lines; nothing was written",
    ] {
        assert!(refused.err.contains(fault), "{}", refused.err);
    }
    assert_eq!(fs::read(path("breached")).unwrap(), before);
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        3,
        "no draft is left"
    );

    fs::write(path("damaged"), &before[..before.len() - 1]).unwrap();
    let damaged = portico(&["breach", "check", &path("damaged")]);
    assert_eq!(damaged.code, Some(2), "{}", damaged.out);
    assert!(damaged.err.contains("is damaged"), "{}", damaged.err);
    assert_eq!(build(&path("nowhere")).code, Some(2));
}

#[test]
fn passwords_are_looked_up_from_standard_input_and_never_printed() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("list"), BREACHED).unwrap();
    let made = portico(&[
        "breach",
        "build",
        "--in",
        &path("list"),
        "--out",
        &path("breached"),
    ]);
    assert_eq!(made.code, Some(0), "{}", made.err);
    let asked = |passwords: &str| {
        fs::write(path("passwords"), passwords).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_portico"))
            .args(["breach", "check", &path("breached"), "--stdin"])
            .stdin(fs::File::open(path("passwords")).unwrap())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = asked("a quartz lagoon\nhunter2\r\npassword");
    assert_eq!(code, Some(1));
    assert!(
        said.contains("line 2: breached\nline 3: breached\n") && !said.contains("hunter2"),
        "{said}"
    );
    assert_eq!(asked("a quartz lagoon\n").0, Some(0));
}

#[test]
fn calibration_prints_settings_that_core_api_takes() {
    let said = portico(&["argon2", "calibrate", "--target", "1ms"]);
    assert_eq!(said.code, Some(1), "no machine is that fast: {}", said.out);
    assert!(
        said.out
            .starts_with("password:\n  memory_kib: 19456\n  iterations: 2\n"),
        "{}",
        said.out
    );
    assert_eq!(
        portico(&["argon2", "calibrate", "--target", "soon"]).code,
        Some(2)
    );
}

#[test]
fn a_plain_secret_is_sealed_and_the_service_finds_it_where_the_command_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("kek"), &"canary".repeat(6).as_bytes()[..32]).unwrap();
    let seal = [
        "secrets",
        "seal",
        &path("kek"),
        "--identity",
        &path("identity"),
        "--remove",
    ];
    let sealed = portico(&seal);
    assert_eq!(sealed.code, Some(0), "{}", sealed.err);
    let reference = format!("age://{}.age", path("kek"));
    assert!(
        sealed.out.ends_with(&format!("{reference}\n")) && !sealed.out.contains("canary"),
        "{}",
        sealed.out
    );
    assert!(!Path::new(&path("kek")).exists(), "the plain one is gone");
    let settings = format!(
        "secrets: {{age: {{identity_file: {}}}}}\nkek: {reference}\n",
        path("identity")
    );
    fs::write(path("core-api.yaml"), settings).unwrap();
    let checked = portico(&["secrets", "check", "--settings", &path("core-api.yaml")]);
    assert!(
        checked.out.contains(&format!("good     {reference}")),
        "{}{}",
        checked.out,
        checked.err
    );
    let again = portico(&seal);
    assert_eq!(again.code, Some(2), "there is no plain file: {}", again.out);
}

#[test]
fn a_service_that_lacks_secrets_says_all_of_them_at_once_and_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let settings = format!(
        "kek: file:{}\npassword: {{pepper: 'env:PORTICO_TEST_NOWHERE'}}\ndatabase: {{url: 'file:{}'}}\n",
        path("no-kek"),
        path("no-url"),
    );
    fs::write(path("core-api.yaml"), settings).unwrap();
    let said = portico(&["core-api", "--settings", &path("core-api.yaml")]);
    assert_eq!(said.code, Some(78), "{}", said.err);
    for missing in ["no-kek", "PORTICO_TEST_NOWHERE", "no-url"] {
        assert!(said.err.contains(missing), "{missing}: {}", said.err);
    }
}

/// A control plane that answers one request so; where its settings are.
fn answering(folder: &Path, answer: &serde_json::Value) -> String {
    let socket = folder.join("control-plane.sock");
    drop(fs::remove_file(&socket));
    let listener = UnixListener::bind(&socket).unwrap();
    let body = answer.to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&stream);
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .unwrap();
    });
    let settings = folder.join("control-plane.yaml");
    fs::write(&settings, format!("socket: {}\n", socket.display())).unwrap();
    settings.to_str().unwrap().to_owned()
}

fn read_request(stream: &UnixStream) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    std::io::copy(&mut reader.take(length), &mut std::io::sink()).unwrap();
}

#[test]
fn a_change_that_was_halted_is_1_when_it_is_published_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let publish = |phase: &str, format: &str| {
        let rollout = serde_json::json!({
            "kind": "publish", "change_id": "BANK-471", "position": "1.5", "author": "ada", "author_signed": false,
            "phase": phase, "phase_since": "2026-01-31T10:15:00.123456Z", "why": "edge-2 refuses it: unknown key",
            "back": null, "gateways": [],
        });
        let settings = answering(folder.path(), &rollout);
        let change = [
            "policy",
            "publish",
            "--environment",
            "test",
            "--change-id",
            "BANK-471",
        ];
        let how = ["--author", "ada", "--settings", &settings, "--format", format];
        portico(&[&change[..], &how[..]].concat())
    };
    let halted = publish("halted", "human");
    assert_eq!(halted.code, Some(1), "{}{}", halted.out, halted.err);
    for said in [
        "was halted: edge-2 refuses it: unknown key",
        "another --change-id and with --again",
    ] {
        assert!(halted.out.contains(said), "{}", halted.out);
    }
    let halted = publish("halted", "json");
    assert_eq!(halted.code, Some(1), "{}{}", halted.out, halted.err);
    let document: serde_json::Value = serde_json::from_str(&halted.out).unwrap();
    assert_eq!(document["phase"], "halted");

    let begun = publish("canary", "human");
    assert_eq!(begun.code, Some(0), "{}{}", begun.out, begun.err);
    assert!(begun.out.contains("portico policy status"), "{}", begun.out);
}

#[test]
fn what_is_revoked_or_blocked_is_told_without_a_number_that_nothing_else_shows() {
    let folder = tempfile::tempdir().unwrap();
    let answer = serde_json::json!({"id": 17, "network": "203.0.113.0/24", "seq": (1_u64 << 32) | 2});
    for command in [
        &["revoke", "token", "tok_1"][..],
        &["block", "add", "203.0.113.0/24", "--for", "2h"],
    ] {
        let settings = answering(folder.path(), &answer);
        let said = portico(&[command, &["--settings", &settings]].concat());
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        assert!(!said.out.contains("4294967298"), "{}", said.out);
        assert!(said.out.contains("`portico fleet status`"), "{}", said.out);
    }
}
