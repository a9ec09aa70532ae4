//! Tokens that only the holder of a client certificate may use (J33; RFC 7800, RFC 8705 §3).

use keyring::CertificateHash;
use serde_json::{Value, json};

use crate::authority::Issued;
use crate::client_authorities::chained;
use crate::client_certificates::{Connected, PAYROLL, Partners, in_days, loses_its_socket, write_list};
use crate::gateway_process::{POLICY, eventually};
use crate::key_service::claims;
use crate::platform::{Provider, jwks};

const PATH: &str = "/api/v1/me";

/// `cnf` for the holder of this certificate.
fn bound_to(client: &Issued) -> Value {
    let (chain, _) = client.der();
    json!({"cnf": {"x5t#S256": CertificateHash::of(&chain[0]).to_string()}})
}

async fn status(connected: &mut Connected, path: &str, token: &str) -> u16 {
    let fields = format!("authorization: Bearer {token}\r\n");
    connected.get_as(path, "localhost", &fields).await.unwrap().0
}

#[tokio::test]
async fn j33_a_bound_token_is_good_with_its_certificate_and_with_nothing_else() {
    let partners = Partners::start().await;
    let (holder, thief) = (
        partners.authority.issue_to_client(PAYROLL, 1),
        partners.authority.issue_to_client(PAYROLL, 2),
    );
    let token = partners.gateway.keys.token_with(&bound_to(&holder));
    let mut of_holder = partners.connect(Some(&holder)).await;
    // The second time it is remembered.
    for _ in 0..2 {
        assert_eq!(status(&mut of_holder, PATH, &token).await, 200);
    }
    let mut of_thief = partners.connect(Some(&thief)).await;
    let (refused, text) = of_thief
        .get_as(PATH, "localhost", &format!("authorization: Bearer {token}\r\n"))
        .await
        .unwrap();
    assert_eq!(refused, 401, "another certificate of the same name");
    assert!(text.contains("Bearer error=\"invalid_token\""), "{text}");
    let mut without = partners.connect(None).await;
    assert_eq!(status(&mut without, PATH, &token).await, 401, "no certificate");
    let elsewhere = partners.gateway.get_with(PATH, &token).await;
    assert_eq!(elsewhere.status(), 401, "a listener that asks for none");
    let unproven = r#"portico_tokens_total{issuer="customers",reason="unproven",result="refused"}"#;
    assert_eq!(partners.gateway.metric(unproven).await, Some(3));
    assert_eq!(status(&mut of_holder, PATH, &token).await, 200);
    // One that is bound to nothing needs nothing.
    assert_eq!(
        status(&mut without, PATH, &partners.gateway.keys.token()).await,
        200
    );
    assert_eq!(partners.gateway.core.seen().len(), 4);
}

#[tokio::test]
async fn j33_a_token_is_bound_to_the_certificate_of_its_client_and_not_to_one_above_it() {
    let partners = Partners::start().await;
    let between = partners.authority.below("between");
    let lists = [
        partners.authority.revoke(&[], in_days(30)),
        between.revoke(&[], in_days(30)),
    ];
    write_list(&partners.gateway.directory.path().join("tls"), &lists.concat());
    let client = chained(&between, PAYROLL);
    partners.lets_in(&client).await;
    let (chain, _) = client.der();
    let mut connected = partners.connect(Some(&client)).await;
    for (certificate, expected) in chain.iter().zip([200, 401]) {
        let hash = CertificateHash::of(certificate).to_string();
        let cnf = json!({"cnf": {"x5t#S256": hash}});
        let token = partners.gateway.keys.token_with(&cnf);
        assert_eq!(status(&mut connected, PATH, &token).await, expected);
    }
    assert_eq!(chain.len(), 2);
}

#[tokio::test]
async fn j33_tls6_a_bound_token_falls_with_its_certificate_also_on_an_open_connection() {
    let partners = Partners::start().await;
    let holder = partners.authority.issue_to_client(PAYROLL, 1);
    let token = partners.gateway.keys.token_with(&bound_to(&holder));
    let mut open = partners.connect(Some(&holder)).await;
    assert_eq!(status(&mut open, PATH, &token).await, 200);
    partners.revoke(&[1], in_days(30));
    eventually("the revoked certificate is refused", || async {
        partners
            .connect(Some(&holder))
            .await
            .get_as(PATH, "localhost", "")
            .await
            .is_err()
    })
    .await;
    assert_eq!(status(&mut open, PATH, &token).await, 401);
}

#[tokio::test]
async fn j33_j47_a_socket_that_a_bound_token_has_opened_falls_with_the_certificate() {
    let route = "routes:\n  follow:\n    match: { method: GET, path: /api/v1/events }\n    auth: customers\n    scopes: []\n    upstream: events\n";
    loses_its_socket(route, |partners, client| {
        let token = partners.gateway.keys.token_with(&bound_to(client));
        format!("Authorization: Bearer {token}\r\n")
    })
    .await;
}

#[tokio::test]
async fn j33_where_the_policy_asks_for_it_a_token_that_is_bound_to_nothing_is_refused() {
    let provider = Provider::ed25519("2026-11");
    let identity = "identity:\n  suppliers:\n    issuer: https://suppliers.example\n    audiences: [core-api]\n    algorithms: [EdDSA]\n    type: at+jwt\n    max_lifetime: 15min\n    leeway: 1s\n    require_cnf: true\n    keys: file:suppliers.jwks.json\n";
    let route = "routes:\n  order:\n    match: { method: GET, path: /api/v1/orders }\n    auth: suppliers\n    scopes: []\n    upstream: core\n";
    let policy = POLICY
        .replace("identity:\n", identity)
        .replace("routes:\n", route);
    let partners = Partners::prepared(&policy, |certificates| {
        let keys = certificates.parent().unwrap().join("keys");
        std::fs::write(keys.join("suppliers.jwks.json"), jwks(&[&provider])).unwrap();
    })
    .await;
    let holder = partners.authority.issue_to_client(PAYROLL, 1);
    let mut connected = partners.connect(Some(&holder)).await;
    let mut bound = bound_to(&holder);
    bound["iss"] = json!("https://suppliers.example");
    let bearer = provider.sign(&claims(&json!({"iss": "https://suppliers.example"})));
    let bound = provider.sign(&claims(&bound));
    assert_eq!(status(&mut connected, "/api/v1/orders", &bearer).await, 401);
    let binding = r#"portico_tokens_total{issuer="suppliers",reason="binding",result="refused"}"#;
    assert_eq!(partners.gateway.metric(binding).await, Some(1));
    assert_eq!(status(&mut connected, "/api/v1/orders", &bound).await, 200);
}
