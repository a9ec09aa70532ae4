//! Permitting a request allocates nothing: evaluation runs for every request there is.
#![cfg(test)]

use http::{HeaderMap, HeaderName, HeaderValue, header};
use policy::{
    Charge, Decision, Evidence, IdentityProvider, LimitState, LimitStates, Plan, Principal, RequestHead,
    Scheme, SourceFile, TokenFailure,
};
use std::{fs, net::IpAddr, path::Path, sync::Arc, time::Duration};

/// A good token and room in every limit, without an allocation of their own.
struct Fine(Arc<Principal>);

impl Evidence for Fine {
    fn authenticate(&self, _: &IdentityProvider, _: &str) -> Result<Arc<Principal>, TokenFailure> {
        Ok(Arc::clone(&self.0))
    }

    fn knows_revocations(&self, _: Duration) -> bool {
        true
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        let state = |charge: &Charge| LimitState {
            limit: Arc::clone(&charge.limit),
            granted: true,
            remaining: 1,
            reset: Duration::from_secs(1),
            retry_after: Duration::ZERO,
        };
        charges.iter().map(state).collect()
    }
}

fn shipped() -> Plan {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    let mut files = Vec::new();
    for folder in [root.clone(), root.join("routes"), root.join("environments")] {
        for entry in fs::read_dir(folder).expect("policies") {
            let path = entry.expect("a policy").path();
            if path.extension().is_some_and(|extension| extension == "yaml")
                || path.to_str().is_some_and(SourceFile::is_api_document)
            {
                let name = path.strip_prefix(&root).expect("below the root");
                files.push(SourceFile::new(
                    name.to_str().expect("UTF-8"),
                    fs::read_to_string(&path).expect("a policy"),
                ));
            }
        }
    }
    policy::compile(&files, "production").expect("the shipped policies compile")
}

#[test]
fn a_permit_costs_no_allocation() {
    let plan = shipped();
    let evidence = Fine(Arc::new(Principal {
        subject: "usr_01jdx3v9k2e8m7q4t6y1w5z0ab".to_owned(),
        session: Some("ses_01jdx3v9k2e8m7q4t6y1w5z0ab".to_owned()),
        tenant: Some("ten_01jdx3v9k2e8m7q4t6y1w5z0ab".to_owned()),
        scopes: [
            "accounts:read",
            "accounts:write",
            "transfers:read",
            "transfers:write",
        ]
        .map(str::to_owned)
        .to_vec(),
    }));
    let mut headers = HeaderMap::new();
    headers.insert(
        header::AUTHORIZATION,
        HeaderValue::from_static("Bearer e30.e30.c2ln"),
    );
    headers.insert(
        header::ORIGIN,
        HeaderValue::from_static("https://app.bank.example"),
    );
    for (method, target) in [
        ("GET", "/api/v1/me"),
        (
            "GET",
            "/api/v1/accounts/acc_01jdx3v9k2e8m7q4t6y1w5z0ab/entries?limit=50",
        ),
        ("GET", "/health"),
    ] {
        let head = RequestHead {
            listener: "public",
            scheme: Scheme::Https,
            method,
            target,
            host: "api.bank.example",
            headers: &headers,
            client: IpAddr::from([203, 0, 113, 7]),
            body: None,
            https_port: 443,
        };
        // Expressions of the document make their caches when they first run.
        drop(plan.evaluate(&head, &evidence));
        let mut is_permitted = false;
        let counted = allocation_counter::measure(|| {
            is_permitted = matches!(plan.evaluate(&head, &evidence).decision, Decision::Permit(_));
        });
        assert!(is_permitted, "{method} {target}");
        assert_eq!(counted.count_total, 0, "{method} {target}: {counted:?}");
        let explained = allocation_counter::measure(|| drop(plan.explain(&head, &evidence)));
        assert!(explained.count_total > 0, "the counter counts nothing");
    }
}

#[test]
fn a_body_that_is_checked_costs_few_allocations() {
    let body = br#"{"from_account_id":"acc_01kafpwz0zfmx9tpr6z5qgyf0h","to_account_id":"acc_01kafpx3vgfd5t8y2w5m0c9b7e","amount":2500,"currency":"EUR","reference":"Rent, May"}"#;
    let plan = shipped();
    let evidence = Fine(Arc::new(Principal {
        subject: "usr_01jdx3v9k2e8m7q4t6y1w5z0ab".to_owned(),
        session: None,
        tenant: None,
        scopes: vec!["transfers:write".to_owned()],
    }));
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::AUTHORIZATION, "Bearer e30.e30.c2ln"),
        (header::CONTENT_TYPE, "application/json"),
        (HeaderName::from_static("idempotency-key"), "order-1"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let head = RequestHead {
        listener: "public",
        scheme: Scheme::Https,
        method: "POST",
        target: "/api/v1/transfers",
        host: "api.bank.example",
        headers: &headers,
        client: IpAddr::from([203, 0, 113, 7]),
        body: Some(body),
        https_port: 443,
    };
    let ask = || matches!(plan.evaluate(&head, &evidence).decision, Decision::Permit(_));
    // Expressions make their caches when they first run.
    assert!(ask());
    let counted = allocation_counter::measure(|| assert!(ask()));
    // The list of members, which grows once.
    assert!(counted.count_total <= 2, "{counted:?}");
}
