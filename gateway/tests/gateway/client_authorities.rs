//! Who vouches for client certificates, for how long, and by which names (TLS-6).

use chrono::{DateTime, TimeDelta, Utc};
use rcgen::{DnType, ExtendedKeyUsagePurpose, SanType, SerialNumber, date_time_ymd};
use serde_json::json;

use crate::access_log::Log;
use crate::authority::{Authority, Issued};
use crate::client_certificates::{Connected, PATH, PAYROLL, Partners, in_days, write_list};
use crate::gateway_process::{eventually, now};

/// Midnight, five days after [`now`].
fn midnight() -> DateTime<Utc> {
    "2027-01-20T00:00:00Z".parse().unwrap()
}

/// Why a request for the route of partners was refused with 403, as the log says.
async fn reason(log: &Log, connected: &mut Connected) -> String {
    let (status, text) = connected.get_as(PATH, "localhost", "").await.unwrap();
    assert_eq!(status, 403, "{text}");
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix("x-request-id: "))
        .unwrap()
        .to_owned();
    eventually("it is logged", || async { log.line(&id).is_some() }).await;
    log.line(&id).unwrap()["reason"].as_str().unwrap().to_owned()
}

/// A certificate for clients, with the certificate of who has issued it behind it.
pub(crate) fn chained(issuer: &Authority, uri: &str) -> Issued {
    let issued = issuer.issue_to_client(uri, 1);
    Issued {
        chain: format!("{}{}", issued.chain, issuer.pem()),
        key: issued.key,
    }
}

impl Partners {
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.gateway.directory.path().join("tls").join(name), text).unwrap();
    }

    fn lists(&self, lists: &[String]) {
        write_list(&self.gateway.directory.path().join("tls"), &lists.concat());
    }

    pub(crate) async fn lets_in(&self, client: &Issued) {
        eventually("it is let in", || async {
            self.outcome(Some(client)).await == Ok(200)
        })
        .await;
    }
}

#[tokio::test]
async fn tls6_a_certificate_ends_on_an_open_connection_too_and_so_does_one_that_vouches_for_it() {
    let log = Log::capture();
    let partners = Partners::start().await;
    let short = partners.authority.issue_with(&[], |params| {
        params.subject_alt_names = vec![SanType::URI(PAYROLL.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(2027, 1, 20);
    });
    let between = partners.authority.below_with("short", |params| {
        params.not_after = date_time_ymd(2027, 1, 20);
    });
    partners.lists(&[
        partners.authority.revoke(&[], in_days(30)),
        between.revoke(&[], in_days(30)),
    ]);
    let long = chained(&between, PAYROLL);
    partners.lets_in(&long).await;
    let mut open = [
        partners.connect(Some(&short)).await,
        partners.connect(Some(&long)).await,
    ];
    partners
        .gateway
        .clock
        .advance(midnight() - now() - TimeDelta::seconds(1));
    for connected in &mut open {
        assert_eq!(connected.get(PATH).await, Ok(200), "a second before");
    }
    partners.gateway.clock.advance(TimeDelta::seconds(2));
    for connected in &mut open {
        assert_eq!(reason(log, connected).await, "client_certificate_expired");
    }
    for client in [&short, &long] {
        let refused = partners.outcome(Some(client)).await.unwrap_err();
        assert!(refused.contains("alert"), "{refused}");
    }
}

#[tokio::test]
async fn tls6_every_authority_of_a_chain_has_a_list_and_whoever_stands_in_one_is_out() {
    let log = Log::capture();
    let partners = Partners::start().await;
    let between = partners.authority.below_with("between", |params| {
        params.serial_number = Some(SerialNumber::from(40_u64));
    });
    let client = chained(&between, PAYROLL);
    let refused = partners.outcome(Some(&client)).await.unwrap_err();
    assert!(
        refused.contains("alert"),
        "nobody says who of its clients is revoked: {refused}"
    );

    let of_between = between.revoke(&[], in_days(30));
    partners.lists(&[partners.authority.revoke(&[], in_days(30)), of_between.clone()]);
    partners.lets_in(&client).await;
    let mut open = partners.connect(Some(&client)).await;
    assert_eq!(open.get(PATH).await, Ok(200));

    partners.lists(&[partners.authority.revoke(&[40], in_days(30)), of_between]);
    eventually("who vouches for it is revoked", || async {
        partners.outcome(Some(&client)).await.is_err()
    })
    .await;
    assert_eq!(reason(log, &mut open).await, "client_certificate_revoked");
}

#[tokio::test]
async fn tls6_a_list_that_ends_ends_its_own_clients() {
    let log = Log::capture();
    let partners = Partners::start().await;
    let other = Authority::new("Others");
    partners.lists(&[
        partners.authority.revoke(&[], in_days(30)),
        other.revoke(&[], in_days(10)),
    ]);
    partners.write(
        "partners.ca.pem",
        &format!("{}{}", partners.authority.pem(), other.pem()),
    );
    let of_other = other.issue_to_client(PAYROLL, 1);
    partners.lets_in(&of_other).await;
    let client = partners.authority.issue_to_client(PAYROLL, 1);
    let mut open = [
        partners.connect(Some(&client)).await,
        partners.connect(Some(&of_other)).await,
    ];
    for connected in &mut open {
        assert_eq!(connected.get(PATH).await, Ok(200));
    }
    let ends = r#"portico_revocation_lists_end_timestamp_seconds{authority="partners"}"#;
    let first = (in_days(10)).date_naive().and_hms_opt(0, 0, 0).unwrap().and_utc();
    assert_eq!(partners.gateway.metric(ends).await, Some(first.timestamp()));
    partners.gateway.clock.advance(TimeDelta::days(11));
    let [first, second] = &mut open;
    assert_eq!(first.get(PATH).await, Ok(200), "its own authority's list holds");
    assert_eq!(reason(log, second).await, "revocation_list_expired");
}

#[tokio::test]
async fn tls6_an_authority_that_is_none_or_has_no_list_changes_nothing_and_a_metric_says_so() {
    let partners = Partners::start().await;
    let client = partners.authority.issue_to_client(PAYROLL, 1);
    let good = partners.authority.pem();
    let leaf = partners.authority.issue(&["partners.example"]).chain;
    // By its name, a list is of the leaf as well.
    let named = partners.authority.issue_with(&["partners.example"], |params| {
        params.distinguished_name.push(DnType::CommonName, "Partners");
    });
    let without_list = Authority::new("Without a list").pem();
    let ok = r#"portico_client_authority_ok{authority="partners"}"#;
    for (what, wrong) in [
        ("empty", String::new()),
        (
            "no PEM",
            "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n".to_owned(),
        ),
        ("no authority", leaf.clone()),
        ("one that is none", format!("{good}{leaf}")),
        (
            "one that is none and has a list",
            format!("{good}{}", named.chain),
        ),
        ("one without a list", format!("{good}{without_list}")),
    ] {
        partners.write("partners.ca.pem", &wrong);
        eventually(&format!("{what} is reported"), || async {
            partners.gateway.metric(ok).await == Some(0)
        })
        .await;
        assert_eq!(partners.outcome(Some(&client)).await, Ok(200), "{what}");
        partners.write("partners.ca.pem", &good);
        eventually("the good one mends it", || async {
            partners.gateway.metric(ok).await == Some(1)
        })
        .await;
    }
}

#[tokio::test]
async fn tls6_a_client_is_known_by_its_uri_and_dns_names_and_by_nothing_else() {
    let log = Log::capture();
    let partners = Partners::start().await;
    let names = format!("names: [\"{PAYROLL}\"]");
    let text = std::fs::read_to_string(partners.gateway.directory.path().join("policies/base.yaml")).unwrap();
    assert!(text.contains(&names));
    let wider = text.replace(
        &names,
        &format!("names: [\"{PAYROLL}\", payroll.partner.example]"),
    );
    partners.gateway.policy_file("base.yaml", &wider);
    let by = |names: Vec<SanType>| {
        partners.authority.issue_with(&[], |params| {
            params.subject_alt_names = names;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params
                .distinguished_name
                .push(DnType::CommonName, "payroll.partner.example");
        })
    };
    let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
    let uri = |name: &str| SanType::URI(name.try_into().unwrap());
    partners.lets_in(&by(vec![dns("PAYROLL.partner.example")])).await;
    let several = by(vec![dns("else.example"), uri("spiffe://else"), uri(PAYROLL)]);
    assert_eq!(partners.outcome(Some(&several)).await, Ok(200));
    for (what, wrong) in [
        ("a common name", vec![]),
        (
            "a mail address",
            vec![SanType::Rfc822Name("payroll@partner.example".try_into().unwrap())],
        ),
        ("a name below it", vec![dns("x.payroll.partner.example")]),
        ("a wildcard", vec![dns("*.partner.example")]),
        (
            "another case of a URI",
            vec![uri("spiffe://bank.example/Payroll")],
        ),
        ("a longer URI", vec![uri("spiffe://bank.example/payroll/")]),
    ] {
        let mut connected = partners.connect(Some(&by(wrong))).await;
        assert_eq!(reason(log, &mut connected).await, "another_client_name", "{what}");
    }
}

#[tokio::test]
async fn j33_tls6_who_was_let_in_by_another_authority_is_no_holder_of_a_bound_token() {
    let partners = Partners::start().await;
    let client = partners.authority.issue_to_client(PAYROLL, 1);
    let (chain, _) = client.der();
    let hash = keyring::CertificateHash::of(&chain[0]).to_string();
    let token = partners
        .gateway
        .keys
        .token_with(&json!({"cnf": {"x5t#S256": hash}}));
    let fields = format!("authorization: Bearer {token}\r\n");
    let mut open = partners.connect(Some(&client)).await;
    let mut me = async || open.get_as("/api/v1/me", "localhost", &fields).await.unwrap().0;
    assert_eq!(me().await, 200);

    // The same authority by another name: what was shown to the one was not shown to the other.
    partners.write("others.ca.pem", &partners.authority.pem());
    partners.write("others.crl.pem", &partners.authority.revoke(&[], in_days(30)));
    let base = partners.gateway.directory.path().join("policies/base.yaml");
    let text = std::fs::read_to_string(base).unwrap();
    let renamed = text
        .replace("client_authority: partners", "client_authority: others")
        .replace("authority: partners", "authority: others");
    partners.gateway.policy_file("base.yaml", &renamed);
    eventually("new connections are asked by the other one", || async {
        let mut new = partners.connect(Some(&client)).await;
        new.get_as(PATH, "localhost", "")
            .await
            .is_ok_and(|(status, _)| status == 200)
            && partners
                .gateway
                .metric(r#"portico_client_authority_ok{authority="others"}"#)
                .await
                == Some(1)
    })
    .await;
    assert_eq!(me().await, 401);
}
