//! Policies that change while requests are under way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::clients::problem;
use crate::gateway_process::{GatewayProcess, OVERLAY, POLICY, eventually};

/// The same policy with the rates behind a token.
fn stricter() -> String {
    let open = "auth: none\n    because: exchange rates are published for everyone";
    assert!(POLICY.contains(open));
    POLICY.replace(open, "auth: customers\n    scopes: []")
}

/// Operators see what is in force, and the log has one line for each policy that came into force.
#[tokio::test]
async fn the_private_listener_says_what_is_in_force_and_the_log_said_so_once() {
    let log = crate::access_log::Log::capture();
    let gateway = GatewayProcess::start().await;
    let status = async || -> serde_json::Value {
        serde_json::from_str(&gateway.private_text("/status").await).unwrap()
    };
    let before = status().await;
    assert_eq!(
        before["upstreams"]["core"]["addresses"][0]["address"],
        "unix:core.sock"
    );
    assert_eq!(before["upstreams"]["core"]["addresses"][0]["is_up"], true);
    assert_eq!(before["upstreams"]["core"]["tls"], serde_json::Value::Null);
    assert_eq!(before["is_stopping"], false);
    gateway.policy_file("base.yaml", &format!("{POLICY}# this test only\n"));
    eventually("the edit is in force", || async {
        status().await["policy"]["hash"] != before["policy"]["hash"]
    })
    .await;
    let hash = status().await["policy"]["hash"].as_str().unwrap().to_owned();
    let text = log.text();
    let told = text
        .lines()
        .filter(|line| line.contains("policy in force") && line.contains(&hash));
    assert_eq!(told.count(), 1);
}

#[tokio::test]
async fn a_good_edit_takes_effect_under_load_and_fails_no_request() {
    let gateway = GatewayProcess::start().await;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let token = gateway.keys.token();
    let mut load = Vec::new();
    for _ in 0..8 {
        let (client, url) = (gateway.client(), gateway.url("/api/v1/rates/eur-usd"));
        let (stop, served, token) = (stop.clone(), served.clone(), token.clone());
        load.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = client.get(&url).bearer_auth(&token).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                served.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for round in 0..3 {
        let (policy, anonymous) = if round % 2 == 0 {
            (stricter(), 401)
        } else {
            (POLICY.to_owned(), 200)
        };
        gateway.policy_file("base.yaml", &policy);
        eventually("the edit takes effect", || async {
            gateway.get("/api/v1/rates/eur-usd").await.status() == anonymous
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in load {
        client.await.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) > 100, "the load was no load");
    assert_eq!(
        gateway
            .metric(r#"portico_policy_reloads_total{outcome="loaded"}"#)
            .await,
        Some(4)
    );
}

/// A gateway that would look by itself only after an hour: what it sees, it sees by events.
async fn without_polling() -> GatewayProcess {
    GatewayProcess::with(POLICY, |settings| settings.policy_poll_ms = 3_600_000).await
}

/// Writes a whole policy folder.
fn folder(folder: &Path, policy: &str) {
    fs::create_dir_all(folder.join("environments")).unwrap();
    fs::write(folder.join("environments/test.yaml"), OVERLAY).unwrap();
    fs::write(folder.join("base.yaml"), policy).unwrap();
}

async fn rates_answer(gateway: &GatewayProcess, status: u16, what: &str) {
    eventually(what, || async {
        gateway.get("/api/v1/rates/a").await.status() == status
    })
    .await;
}

#[tokio::test]
async fn folders_that_are_renamed_into_place_are_seen_each_time_and_edits_after_them_too() {
    let gateway = without_polling().await;
    let home = gateway.directory.path();
    let swap = |round: u8, policy: &str| {
        folder(&home.join("next"), policy);
        fs::rename(home.join("policies"), home.join(format!("before-{round}"))).unwrap();
        fs::rename(home.join("next"), home.join("policies")).unwrap();
    };
    swap(1, &stricter());
    rates_answer(&gateway, 401, "the first folder takes effect").await;
    swap(2, POLICY);
    rates_answer(&gateway, 200, "the second folder takes effect").await;
    gateway.policy_file("base.yaml", &stricter());
    rates_answer(&gateway, 401, "an edit in it takes effect").await;
    gateway.policy_file("base.yaml", POLICY);
    rates_answer(&gateway, 200, "the next edit takes effect").await;
    swap(3, &stricter());
    rates_answer(&gateway, 401, "a folder after the edits takes effect").await;
}

#[tokio::test]
async fn links_that_are_turned_are_seen_each_time_and_edits_behind_them_too() {
    let mut gateway = without_polling().await;
    let home = gateway.directory.path().to_owned();
    gateway.stop().await;
    fs::rename(home.join("policies"), home.join("release-0")).unwrap();
    symlink("release-0", home.join("policies")).unwrap();
    gateway.restart().await.unwrap();
    let turn = |release: &str, policy: &str| {
        folder(&home.join(release), policy);
        symlink(release, home.join("next")).unwrap();
        fs::rename(home.join("next"), home.join("policies")).unwrap();
    };
    turn("release-1", &stricter());
    rates_answer(&gateway, 401, "the first link takes effect").await;
    turn("release-2", POLICY);
    rates_answer(&gateway, 200, "the second link takes effect").await;
    gateway.policy_file("base.yaml", &stricter());
    rates_answer(&gateway, 401, "an edit behind it takes effect").await;
    turn("release-3", POLICY);
    rates_answer(&gateway, 200, "a link after the edit takes effect").await;
}

#[tokio::test]
async fn a_link_above_the_folder_is_seen_when_it_is_turned() {
    let mut gateway = without_polling().await;
    let home = gateway.directory.path().to_owned();
    gateway.stop().await;
    for release in ["release-1", "release-2"] {
        fs::create_dir(home.join(release)).unwrap();
    }
    fs::rename(home.join("policies"), home.join("release-1/policies")).unwrap();
    folder(&home.join("release-2/policies"), &stricter());
    symlink("release-1", home.join("current")).unwrap();
    symlink("current/policies", home.join("policies")).unwrap();
    gateway.restart().await.unwrap();
    assert_eq!(gateway.get("/api/v1/rates/a").await.status(), 200);

    symlink("release-2", home.join("next")).unwrap();
    fs::rename(home.join("next"), home.join("current")).unwrap();
    rates_answer(&gateway, 401, "the release takes effect").await;
}

#[tokio::test]
async fn a_broken_edit_changes_nothing_and_is_reported() {
    let gateway = GatewayProcess::start().await;
    let hash = |text: &str| {
        text.lines()
            .find(|line| line.starts_with("portico_policy_info"))
            .unwrap()
            .to_owned()
    };
    let before = hash(&gateway.private_text("/metrics").await);

    gateway.policy_file("base.yaml", &stricter().replace("scopes: []", "scoops: []"));
    eventually("the fault is reported", || async {
        gateway.metric("portico_policy_directory_ok").await == Some(0)
    })
    .await;
    assert_eq!(
        gateway.get("/api/v1/rates/eur-usd").await.status(),
        200,
        "the old policy is in force"
    );
    assert_eq!(hash(&gateway.private_text("/metrics").await), before);
    assert_eq!(
        gateway
            .metric(r#"portico_policy_reloads_total{outcome="refused"}"#)
            .await,
        Some(1)
    );

    gateway.policy_file("base.yaml", &stricter());
    eventually("the repaired edit takes effect", || async {
        gateway.get("/api/v1/rates/eur-usd").await.status() == 401
    })
    .await;
    assert_eq!(gateway.metric("portico_policy_directory_ok").await, Some(1));
}

#[tokio::test]
async fn an_edit_of_cases_reloads_nothing_and_breaks_nothing() {
    let mut gateway = GatewayProcess::start().await;
    fs::create_dir(gateway.directory.path().join("policies/tests")).unwrap();
    gateway.policy_file("tests/rates.yaml", "version: 1\ntests: [");
    // The directory is read again for this edit: what it says of cases is known by then.
    gateway.policy_file("base.yaml", &stricter());
    eventually("the edit takes effect", || async {
        gateway.get("/api/v1/rates/a").await.status() == 401
    })
    .await;
    let reloads = |outcome: &str| format!("portico_policy_reloads_total{{outcome=\"{outcome}\"}}");
    assert_eq!(gateway.metric(&reloads("loaded")).await, Some(2));
    assert_eq!(gateway.metric(&reloads("refused")).await.unwrap_or(0), 0);

    gateway.stop().await;
    gateway.restart().await.unwrap();
    assert_eq!(gateway.metric("portico_policy_directory_ok").await, Some(1));
    let last_good = gateway.directory.path().join("state/policy/last-good.json");
    assert!(!fs::read_to_string(last_good).unwrap().contains("tests/"));
}

#[tokio::test]
async fn counters_survive_a_reload() {
    let gateway = GatewayProcess::start().await;
    for _ in 0..2 {
        assert_eq!(gateway.get("/api/v1/scarce").await.status(), 200);
    }
    gateway.policy_file("base.yaml", &stricter());
    eventually("the edit takes effect", || async {
        gateway.get("/api/v1/rates/a").await.status() == 401
    })
    .await;
    assert_eq!(gateway.get("/api/v1/scarce").await.status(), 429);
}

#[tokio::test]
async fn a_listener_that_moves_waits_for_a_restart_and_says_so() {
    let gateway = GatewayProcess::start().await;
    let waiting = "portico_listeners_waiting";
    for (bind, sides) in [("127.0.0.1:9443", 1_i64), ("127.0.0.1:8443", 0)] {
        gateway.policy_file("base.yaml", &POLICY.replace("127.0.0.1:8443", bind));
        gateway.counts(waiting, sides).await;
        assert_eq!(gateway.get("/health/live").await.status(), 200);
    }
    let without = POLICY.replace("    http: { bind: \"127.0.0.1:8080\", redirect: https }\n", "");
    gateway.policy_file("base.yaml", &without);
    gateway.counts(waiting, 1).await;
}

#[tokio::test]
async fn a_restart_with_a_broken_directory_uses_the_last_good_policy() {
    let mut gateway = GatewayProcess::start().await;
    gateway.policy_file("base.yaml", &stricter());
    eventually("the edit takes effect", || async {
        gateway.get("/api/v1/rates/a").await.status() == 401
    })
    .await;
    gateway.stop().await;
    gateway.policy_file("base.yaml", "version: 1\nroutes: [");

    gateway.restart().await.unwrap();
    problem(gateway.get("/api/v1/rates/a").await, 401, "unauthenticated").await;
    assert_eq!(gateway.metric("portico_policy_directory_ok").await, Some(0));
}

#[tokio::test]
async fn a_gateway_with_no_good_policy_at_all_does_not_start() {
    let mut gateway = GatewayProcess::start().await;
    gateway.stop().await;
    gateway.policy_file("base.yaml", "version: 1\nroutes: [");
    let state = gateway.directory.path().join("state/policy");
    fs::write(state.join("last-good.json"), "{").unwrap();
    let error = format!("{:#}", gateway.restart().await.unwrap_err());
    assert!(
        error.contains("the last good copy is damaged") && error.contains("base.yaml"),
        "{error}"
    );

    fs::remove_dir_all(state).unwrap();
    let error = format!("{:#}", gateway.restart().await.unwrap_err());
    assert!(
        error.contains("there is no last good copy") && error.contains("base.yaml"),
        "{error}"
    );
}

#[tokio::test]
async fn an_expired_waiver_is_counted_and_stops_nothing() {
    let gateway = GatewayProcess::start().await;
    let expired = || gateway.metric("portico_policy_waivers_expired");
    assert_eq!(expired().await, Some(0));
    // The clock of these tests stands at 2027-01-15.
    let waived = |until: &str| {
        let waiver = format!(
            "\nwaivers:\n  pages: {{ rule: A1301, at: floor.rate, because: we are busy, until: {until} }}\n"
        );
        gateway.policy_file("base.yaml", &format!("{}{waiver}", stricter()));
    };
    waived("2027-01-14");
    eventually("the expired waiver is counted", || async {
        expired().await == Some(1)
    })
    .await;
    assert_eq!(
        gateway.get("/api/v1/rates/a").await.status(),
        401,
        "the edit is in force"
    );
    assert_eq!(gateway.metric("portico_policy_directory_ok").await, Some(1));

    waived("2027-01-15");
    eventually("its last day still counts", || async {
        expired().await == Some(0)
    })
    .await;

    gateway.clock.advance(chrono::TimeDelta::days(1));
    eventually("the day ends without an edit", || async {
        expired().await == Some(1)
    })
    .await;
    assert_eq!(gateway.get("/api/v1/scarce").await.status(), 200);
}
