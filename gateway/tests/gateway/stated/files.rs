//! Policies that name files which a gateway has not: refused before they are verified, while what is in force goes on.

use std::path::PathBuf;

use fleet::{Objection, Pointer, PolicyContent, Stage, Statement, Stream};

use super::boots::{proven, with_a_long_probation};
use super::control_plane::{ControlPlane, content, patiently};
use super::{LONG, member, member_that_says_where, not_ready, rates, stricter};
use crate::authority::Authority;
use crate::certificates::connect;
use crate::gateway_process::{GatewayProcess, OVERLAY, POLICY, eventually};

const PROVIDER: &str = "identity:
  partners:
    issuer: https://idp.partner.example
    audiences: [core-api]
    algorithms: [EdDSA]
    type: at+jwt
    max_lifetime: 15min
    leeway: 1s
    keys: file:partner.jwks.json
";

fn replaced(from: &str, to: &str) -> String {
    assert!(POLICY.contains(from), "{from}");
    POLICY.replace(from, to)
}

/// With a second certificate on the listener.
fn with_partner() -> String {
    replaced(
        "certificate: gateway",
        "certificate: gateway, more_certificates: [partner]",
    )
}

/// For a host more, which the second certificate is for.
fn for_partner(policy: &str) -> PolicyContent {
    let mut content = content(policy, &[]);
    content.files[1].text = OVERLAY.replace("[localhost", "[pay.partner.example, localhost");
    content
}

/// Each with what the refusal names.
fn lacking() -> Vec<(&'static str, PolicyContent)> {
    let upstream = "    address: \"https://127.0.0.1:9\"
    tls: { min: \"1.3\", authority: core, server_name: core.bank.internal }\n";
    let wanted = format!("{POLICY}certificates:\n  gateway: {{ hosts: [pay.partner.example] }}\n");
    vec![
        ("certificate partner: reading ", for_partner(&with_partner())),
        (
            "certificate gateway: it is not for `pay.partner.example`",
            for_partner(&wanted),
        ),
        (
            "client authority partners: reading ",
            content(
                &replaced(
                    "certificate: gateway",
                    "certificate: gateway, client_authority: partners",
                ),
                &[],
            ),
        ),
        (
            "key file partner.jwks.json: reading ",
            content(
                &replaced("identity:\n", PROVIDER).replace(
                    "/api/v1/me }\n    auth: customers",
                    "/api/v1/me }\n    auth: partners",
                ),
                &[],
            ),
        ),
        (
            "upstreams.core.tls: core.ca.pem: reading ",
            content(&replaced("    address: unix:core.sock\n", upstream), &[]),
        ),
    ]
}

fn tls(gateway: &GatewayProcess) -> PathBuf {
    gateway.directory.path().join("tls")
}

/// Refused for want of files; it got no further than that its bytes are here.
async fn refused(fleet: &ControlPlane, offered: &Pointer) -> String {
    let told = fleet.told(offered, Stage::Refused).await;
    let Objection { code, message, .. } = told.objection.unwrap();
    assert_eq!(code, "files", "{message}");
    assert_eq!(
        fleet.stages(offered),
        [Stage::Received, Stage::Refused],
        "{message}"
    );
    message
}

fn offer(fleet: &ControlPlane, statement: &Statement) -> Pointer {
    fleet.offer(Stream::Policy, statement.position, &fleet.sealed(statement))
}

#[tokio::test]
async fn a_policy_that_names_files_which_are_not_there_is_refused_also_in_shadow() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    for (named, content) in lacking() {
        let statement = fleet.next(Stream::Policy, &content);
        let message = refused(&fleet, &fleet.offer_in_shadow(&statement)).await;
        assert!(message.contains(named), "{message}");
        let message = refused(&fleet, &offer(&fleet, &statement)).await;
        assert!(message.contains(named), "{message}");
        assert_eq!(rates(&gateway).await, 200, "{named}");
    }
    // A file that is wrong is as good as none, and all that is wrong is told.
    let directory = tls(&gateway);
    Authority::new("a stranger's")
        .issue(&["evil.example"])
        .write(&directory, "partner");
    let both = with_partner().replace("[partner]", "[partner, second]");
    let statement = fleet.next(Stream::Policy, &for_partner(&both));
    let message = refused(&fleet, &offer(&fleet, &statement)).await;
    assert!(
        message.contains("certificate partner: it is for none of the hosts"),
        "{message}"
    );
    assert!(message.contains("certificate second: reading "), "{message}");

    // The control: the same policy, once the files are there and it is named again.
    for name in ["partner", "second"] {
        gateway
            .authority
            .issue(&["*.partner.example"])
            .write(&directory, name);
    }
    assert!(connect(&gateway, "pay.partner.example").await.is_err());
    let offered = offer(&fleet, &statement);
    fleet.told(&offered, Stage::Active).await;
    eventually("the second certificate is shown", || async {
        connect(&gateway, "pay.partner.example").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_file_that_goes_bad_while_it_is_in_force_holds_no_policy_up() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    std::fs::write(tls(&gateway).join("gateway.pem"), "half of it").unwrap();
    let mut content = for_partner(&stricter());
    content.files[0]
        .text
        .push_str("certificates:\n  gateway: { hosts: [api.bank.example] }\n");
    let offered = fleet.state(Stream::Policy, &content);
    fleet.told(&offered, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 401);
}

#[tokio::test]
async fn a_new_gateway_without_the_certificate_of_its_first_policy_says_so_and_waits() {
    let fleet = ControlPlane::start(&with_partner()).await;
    let folder = tempfile::tempdir().unwrap();
    let endpoints = folder.path().join("endpoints.json");
    let waiting = member_that_says_where(&fleet, &endpoints);
    let told = async {
        let is_told = || {
            fleet
                .acknowledgements()
                .into_iter()
                .find(|it| it.stage == Stage::Refused)
        };
        patiently(
            || "the first policy is refused".to_owned(),
            || std::future::ready(is_told().is_some() && endpoints.exists()),
        )
        .await;
        let message = is_told().unwrap().objection.unwrap().message;
        assert!(message.contains("certificate partner: "), "{message}");
        let text = std::fs::read_to_string(&endpoints).unwrap();
        let known: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(known.get("public.https").is_none(), "nothing is open: {known}");
        not_ready(known["private"].as_str().unwrap()).await;
        fleet.state_policy(POLICY)
    };
    let (gateway, next) = tokio::join!(waiting, told);
    fleet.told(&next, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 200);
}

#[tokio::test]
async fn starts_that_fail_for_want_of_a_certificate_bring_no_older_policy_back() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = proven(&fleet).await;
    let last = fleet.state_policy(&stricter());
    fleet.told(&last, Stage::Healthy).await;
    with_a_long_probation(&mut gateway);
    fleet.kill();
    gateway.stop().await;
    let (there, away) = (
        tls(&gateway).join("gateway.pem"),
        tls(&gateway).join("gateway.away"),
    );
    std::fs::rename(&there, &away).unwrap();
    for _ in 1..=3 {
        let error = gateway.fails_to_start();
        assert!(error.contains("certificate gateway: reading "), "{error}");
    }
    std::fs::rename(&away, &there).unwrap();
    gateway.restart().await.unwrap();
    assert_eq!(rates(&gateway).await, 401, "the policy that was proven last");
}
