//! What operators and security teams do to a running system: edit policies, rotate keys, follow a request.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use trial::{Service, System};

use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn a_good_policy_edit_takes_effect_and_a_broken_one_does_not() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let file = find(&stage, "X-Frame-Options");
    let original = std::fs::read_to_string(&file).unwrap();
    let policies = stage.policies().display().to_string();
    let check = ["policy", "check", policies.as_str(), "--env", "development"];
    assert_eq!(system.portico(&check).await.unwrap().0, Some(0));

    std::fs::write(
        &file,
        original.replace("X-Frame-Options", "X-Frame-Optoins: \"x\"\n  zzz"),
    )
    .unwrap();
    let (code, text) = system.portico(&check).await.unwrap();
    assert_eq!(code, Some(1), "{text}");
    until(async || metric(&system, "portico_policy_directory_ok ").await == Some(0)).await;
    assert_eq!(
        door.get("/api/v1/me").await.unwrap().headers["x-frame-options"],
        "DENY",
        "what ran before still runs"
    );

    std::fs::write(&file, original.replace("DENY", "SAMEORIGIN")).unwrap();
    until(async || door.get("/api/v1/me").await.unwrap().headers["x-frame-options"] == "SAMEORIGIN").await;
    assert_eq!(metric(&system, "portico_policy_directory_ok ").await, Some(1));
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_changes_the_key_and_old_tokens_stay_good() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let before = door.sign_up().await.unwrap();
    let data_dir = stage.data_dir().display().to_string();
    let jwks = door.get("/.well-known/jwks.json").await.unwrap().body;
    assert_eq!(
        jwks["keys"].as_array().unwrap().len(),
        2,
        "the active key and its standby: {jwks}"
    );
    assert!(jwks["keys"][0].get("d").is_none(), "no private part");

    until(async || {
        system
            .portico(&["keys", "rotate", "--data-dir", &data_dir])
            .await
            .unwrap()
            .0
            == Some(0)
    })
    .await;
    let after = door.log_in(&before.email, &before.password).await.unwrap();
    until(async || {
        door.get("/.well-known/jwks.json").await.unwrap().body["keys"]
            .as_array()
            .unwrap()
            .len()
            == 3
    })
    .await;
    assert_eq!(
        before.get("/api/v1/me").await.unwrap().status,
        200,
        "a token of the old key"
    );
    assert_eq!(
        after.get("/api/v1/me").await.unwrap().status,
        200,
        "a token of the new key"
    );

    let (code, listed) = system
        .portico(&["keys", "list", "--data-dir", &data_dir])
        .await
        .unwrap();
    assert_eq!(code, Some(0), "{listed}");
    for state in ["active", "published", "retiring"] {
        assert!(listed.contains(state), "no {state} key in\n{listed}");
    }
    system.stop().await.unwrap();
}

/// What a command says as JSON, or as it is where that is none.
async fn json_of(system: &System, data_dir: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let all = [arguments, &["--data-dir", data_dir, "--format", "json"]].concat();
    let (code, said) = system.portico(&all).await.unwrap();
    (code, serde_json::from_str(&said).unwrap_or(Value::String(said)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_key_is_revoked_and_its_tokens_are_refused() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let data_dir = stage.data_dir().display().to_string();
    let portico = async |arguments: &[&str]| json_of(&system, &data_dir, arguments).await;
    let active = async || {
        let (_, ring) = portico(&["keys", "list"]).await;
        let keys = ring["keys"].as_array().unwrap().clone();
        let active = keys.into_iter().find(|key| key["state"] == "active");
        active.unwrap()["kid"].as_str().unwrap().to_owned()
    };

    let stolen = active().await;
    let revoke = ["keys", "revoke", "--kid", &stolen, "--reason", "found in a dump"];
    let (code, said) = portico(&revoke).await;
    assert_eq!((code, &said["changed"]), (Some(0), &true.into()), "{said}");
    let successor = said["active"].as_str().unwrap().to_owned();
    assert_eq!(portico(&revoke).await.1["changed"], false);
    assert_eq!(active().await, successor);
    // Its tokens are refused at the gateway as soon as it hears of it, and a new log-in is good.
    until(async || customer.get("/api/v1/me").await.unwrap().status == 401).await;
    let again = door.log_in(&customer.email, &customer.password).await.unwrap();
    assert_eq!(again.get("/api/v1/me").await.unwrap().status, 200);
    let (_, history) = portico(&["keys", "history"]).await;
    assert!(
        history["events"]
            .as_array()
            .unwrap()
            .iter()
            .any(|event| event["action"] == "signing_key.revoked" && event["reason"] == "found in a dump"),
        "{history}"
    );
    let (_, status) = portico(&["keys", "status"]).await;
    assert_eq!(status["rings"].as_array().unwrap().len(), 5, "{status}");
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_encryption_key_follows_another_and_the_old_one_is_destroyed() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let data_dir = stage.data_dir().display().to_string();
    let portico = async |arguments: &[&str]| json_of(&system, &data_dir, arguments).await;
    let (code, said) = portico(&["kek", "rotate"]).await;
    assert_eq!(code, Some(1));
    assert!(said.to_string().contains("version 2"), "{said}");
    system.stop().await.unwrap();
    std::fs::write(stage.data_dir().join("secrets/kek-2"), [7; 32]).unwrap();
    let (system, door) = stage.start().await;
    let portico = async |arguments: &[&str]| json_of(&system, &data_dir, arguments).await;
    assert_eq!(portico(&["kek", "rotate"]).await.1["active"], 2);
    assert_eq!(portico(&["kek", "retire", "1"]).await.0, Some(1));
    let (code, report) = portico(&["kek", "rewrap", "--batch", "3"]).await;
    assert_eq!((code, &report["remaining"]), (Some(0), &0.into()), "{report}");
    assert_eq!(portico(&["kek", "retire", "1"]).await.0, Some(0));
    let (_, history) = portico(&["kek", "history"]).await;
    let events = history["events"].as_array().unwrap().iter();
    let newest: Vec<_> = events
        .map(|event| (&event["action"], &event["kid"]))
        .take(2)
        .collect();
    assert_eq!(
        newest,
        [
            (&"kek.retired".into(), &"1".into()),
            (&"kek.rotated".into(), &"2".into())
        ],
        "{history}"
    );
    let customer = door.log_in(&customer.email, &customer.password).await.unwrap();
    assert_eq!(customer.get("/api/v1/me").await.unwrap().status, 200);
    system.stop().await.unwrap();

    // Its secret is destroyed, and nothing misses it.
    std::fs::remove_file(stage.data_dir().join("secrets/kek")).unwrap();
    let (system, door) = stage.start().await;
    let customer = door.log_in(&customer.email, &customer.password).await.unwrap();
    assert_eq!(customer.get("/api/v1/me").await.unwrap().status, 200);
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_and_blocked_is_refused_until_it_is_taken_back() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let data_dir = stage.data_dir().display().to_string();
    let portico = async |arguments: &[&str]| {
        let arguments = [arguments, &["--data-dir", &data_dir]].concat();
        system.portico(&arguments).await.unwrap()
    };
    let answered = async |status: u16| {
        until(async || customer.get("/api/v1/me").await.unwrap().status == status).await;
    };
    let payload = customer.tokens.access.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let (subject, issuer) = (claims["sub"].as_str().unwrap(), claims["iss"].as_str().unwrap());
    answered(200).await;

    let revoke = [
        "revoke", "subject", subject, "--issuer", issuer, "--format", "json",
    ];
    let (code, revoked) = portico(&revoke).await;
    assert_eq!(code, Some(0), "{revoked}");
    answered(401).await;
    let (_, listed) = portico(&["revoke", "list"]).await;
    assert!(listed.contains(subject), "{listed}");
    let id = serde_json::from_str::<Value>(&revoked).unwrap()["id"].to_string();
    assert_eq!(portico(&["revoke", "undo", &id]).await.0, Some(0));
    answered(200).await;
    assert_eq!(portico(&["revoke", "undo", &id]).await.0, Some(1), "it is gone");

    let (code, blocked) = portico(&[
        "block",
        "add",
        "127.0.0.0/8",
        "--for",
        "10m",
        "--reason",
        "a test",
    ])
    .await;
    assert_eq!(code, Some(0), "{blocked}");
    answered(403).await;
    let (code, refused) = portico(&["block", "add", "0.0.0.0/0", "--for", "10m"]).await;
    assert!(
        code == Some(1) && refused.contains("most of the internet"),
        "{refused}"
    );
    assert_eq!(portico(&["block", "remove", "127.0.0.0/8"]).await.0, Some(0));
    answered(200).await;

    let (code, trust) = portico(&["trust", "show"]).await;
    assert!(
        code == Some(0) && trust.contains("version 1 of the trust document"),
        "{trust}"
    );
    let (code, fleet) = portico(&["fleet", "status"]).await;
    assert_eq!(code, Some(0), "{fleet}");
    for stream in ["keyset", "revocations", "blocks"] {
        assert!(fleet.contains(stream), "no {stream} is stated:\n{fleet}");
    }
    let (code, unknown) = portico(&["fleet", "explain", "edge-9"]).await;
    assert!(
        code == Some(1) && unknown.contains("no gateway `edge-9`"),
        "{unknown}"
    );
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_is_followed_through_every_log_by_its_ids() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let answer = customer.get("/api/v1/me").await.unwrap();
    let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();

    let mut lines: Vec<Value> = Vec::new();
    until(async || {
        let logs = ["gateway", "core-api"]
            .map(|service| stage.data_dir().join("logs").join(format!("{service}.log")));
        lines = logs
            .iter()
            .flat_map(|log| {
                std::fs::read_to_string(log)
                    .unwrap_or_default()
                    .lines()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            })
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok())
            .filter(|line| line["request_id"] == id.as_str())
            .collect();
        let of = |service: &str| lines.iter().any(|line| line["service"] == service);
        of("gateway") && of("core-api")
    })
    .await;
    let trace = lines[0]["trace_id"].as_str().unwrap().to_owned();
    assert_eq!(trace.len(), 32);
    for line in &lines {
        assert_eq!(line["trace_id"], trace.as_str(), "{line}");
        let text = line.to_string();
        assert!(
            !text.contains(&customer.email) && !text.contains(&customer.tokens.access),
            "{text}"
        );
    }
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_tell_what_operators_need() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    door.get("/api/v1/me").await.unwrap().expect(401).unwrap();

    assert_eq!(door.get("/health/live").await.unwrap().status, 200);
    assert_eq!(door.get("/health/ready").await.unwrap().status, 200);
    let health = door.get("/health").await.unwrap().expect(200).unwrap();
    assert_eq!(health.text("/database").unwrap(), "ok");
    for service in Service::ALL {
        assert!(
            !system.metrics(service).await.unwrap().is_empty(),
            "{}",
            service.name()
        );
    }
    let gateway = system.metrics(Service::Gateway).await.unwrap();
    assert!(
        gateway.contains("portico_requests_total{") && gateway.contains("portico_tokens_total{"),
        "{gateway}"
    );
    assert!(
        system
            .metrics(Service::CoreApi)
            .await
            .unwrap()
            .contains("portico_active_users")
    );
    assert_eq!(
        door.get("/metrics").await.unwrap().status,
        404,
        "metrics are not for the public"
    );
    system.stop().await.unwrap();
}

/// The policy file that says this.
fn find(stage: &Stage, text: &str) -> std::path::PathBuf {
    let mut folders = vec![stage.policies()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "yaml")
                && std::fs::read_to_string(&path).unwrap().contains(text)
            {
                return path;
            }
        }
    }
    panic!("no policy file says {text}")
}

async fn metric(system: &System, name: &str) -> Option<u64> {
    let text = system.metrics(Service::Gateway).await.unwrap();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.parse().ok())
}

/// Waits for a condition; a minute is the end of patience.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            if holds().await {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .expect("the condition holds within a minute");
}
