//! Guesses at passwords, from as many addresses as an attacker likes, through a balancer that says whose they are.

use std::fs;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use trial::{Answer, FrontDoor, Service};

use crate::stage::Stage;

/// Time for a block to get from the core to the gateway.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stage whose gateway believes this machine about addresses, and whose address limits are those of production.
fn behind_a_balancer() -> Stage {
    let stage = Stage::new();
    let edit = |file: &str, old: &str, new: &str| {
        let file = stage.policies().join(file);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{}", file.display());
        fs::write(&file, text.replacen(old, new, 1)).unwrap();
    };
    edit(
        "listeners.yaml",
        "listeners:\n  public:\n",
        "addresses: { balancers: [127.0.0.0/8] }\n\nlisteners:\n  public:\n    trusted_proxies: { from: [balancers], client: x_forwarded_for }\n",
    );
    edit(
        "environments/development.yaml",
        "{ failures: 1000, names: 1000 }",
        "{ failures: 20, names: 10 }",
    );
    stage
}

async fn log_in(
    door: &FrontDoor,
    address: &str,
    more: &[(&str, &str)],
    name: &str,
    password: &str,
) -> Answer {
    let headers = [&[("x-forwarded-for", address)], more].concat();
    let body = json!({"email": name, "password": password});
    door.call(Method::POST, "/api/v1/auth/login", &headers, Some(&body))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn l8_many_addresses_guess_five_times_and_the_owner_signs_in_on_the_device_that_did_before() {
    let stage = behind_a_balancer();
    let (system, door) = stage.start().await;
    let owner = door.sign_up().await.unwrap();
    let first = log_in(&door, "192.0.2.1", &[], &owner.email, &owner.password).await;
    let cookie = first.headers["set-cookie"].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();

    let mut told = 0;
    for number in 0..40 {
        let address = format!("198.51.100.{number}");
        let guess = log_in(&door, &address, &[], &owner.email, "not the password at all").await;
        told += i32::from(guess.status == 401);
        assert!([401, 429].contains(&guess.status.as_u16()), "{}", guess.body);
    }
    assert_eq!(told, 5);
    let elsewhere = log_in(&door, "192.0.2.9", &[], &owner.email, &owner.password).await;
    assert_eq!(elsewhere.body["type"], "urn:portico:problem:too-many-attempts");
    let wait = elsewhere.headers["retry-after"].to_str().unwrap();
    assert_eq!(elsewhere.body["retry_after"].to_string(), wait);
    let device = [("cookie", cookie)];
    let at_home = log_in(&door, "192.0.2.9", &device, &owner.email, &owner.password).await;
    assert_eq!(at_home.status, 200, "{}", at_home.body);

    let data_dir = stage.data_dir().display().to_string();
    let unlock = [
        "user",
        "unlock",
        owner.email.as_str(),
        "--data-dir",
        data_dir.as_str(),
    ];
    let (code, text) = system.portico(&unlock).await.unwrap();
    assert_eq!(code, Some(0), "{text}");
    let elsewhere = log_in(&door, "192.0.2.9", &[], &owner.email, &owner.password).await;
    assert_eq!(elsewhere.status, 200, "{}", elsewhere.body);
    system.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn l7_l16_an_address_that_guesses_at_many_names_is_stopped_at_the_gateway_where_it_signs_in() {
    let stage = behind_a_balancer();
    let (system, door) = stage.start().await;
    let owner = door.sign_up().await.unwrap();
    let wrong = "not the password at all";
    for number in 0..10 {
        // Whatever a client writes to the left, the balancer's own word is the last.
        let chain = format!("192.0.2.{number}, 203.0.113.7");
        let name = format!("nobody{number}@bank.example");
        let guess = log_in(&door, &chain, &[], &name, wrong).await;
        assert_eq!(guess.status, 401, "{number}: {}", guess.body);
    }
    let told = async || log_in(&door, "203.0.113.7", &[], &owner.email, &owner.password).await;
    let at_the_gateway = async {
        loop {
            let refused = told().await;
            assert_eq!(refused.status, 429, "{}", refused.body);
            assert_eq!(refused.body["type"], "urn:portico:problem:too-many-attempts");
            if refused.body["detail"] == "too many failed log-ins came from this address" {
                return refused;
            }
            tokio::task::yield_now().await;
        }
    };
    let refused = tokio::time::timeout(PATIENCE, at_the_gateway).await.unwrap();
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    // A block ends with a whole second, so that nobody comes too early.
    assert!((500..=601).contains(&wait), "{wait}");
    assert_eq!(refused.body["retry_after"], wait);

    let address = [("x-forwarded-for", "203.0.113.7")];
    let health = door.call(Method::GET, "/health", &address, None).await.unwrap();
    assert_eq!(health.status, 200, "everything else is open: {}", health.body);
    let neighbour = log_in(&door, "203.0.113.8", &[], &owner.email, &owner.password).await;
    assert_eq!(neighbour.status, 200, "{}", neighbour.body);

    // Ten more names, each from an address of its own: the same password at twenty names is one attack.
    let suspected = async || {
        let metrics = system.metrics(Service::CoreApi).await.unwrap();
        metrics.contains("portico_lockouts_total{what=\"spray_suspected\"} 1")
    };
    for number in 10..20 {
        assert!(!suspected().await, "{number} names");
        let (client, name) = (
            format!("198.51.100.{number}"),
            format!("nobody{number}@bank.example"),
        );
        assert_eq!(log_in(&door, &client, &[], &name, wrong).await.status, 401);
    }
    assert!(suspected().await);
    system.stop().await.unwrap();
}
