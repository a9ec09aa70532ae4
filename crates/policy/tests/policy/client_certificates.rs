//! Client certificates: who gets through, what a case supposes, what a slip is told, and what a change opens.

use crate::world::{Request, World, denial, permit, plan, undescribed, undescribed_with};
use policy::{
    Charge, ClientCertificate, DenialKind, Evidence, IdentityProvider, LimitStates, Phase, Plan, Principal,
    SourceFile, TokenFailure, cases::Suite, compile, describe::describe, diff::diff, render,
};
use std::{fmt::Write, sync::Arc};

const LISTENERS: &str = r#"      tls: { min: "1.2", certificate: gateway }
"#;
const PARTNERS: &str = r#"      tls: { min: "1.2", certificate: gateway, client_authority: partners }
"#;
const ROUTE: &str = "  me:\n    match: { method: GET, path: /api/v1/me }\n    auth: customers\n";
const NEEDED: &str = r#"    client_certificate: { authority: partners, names: ["spiffe://bank.example/a", b.example] }
"#;

/// The shipped policies with a route that needs a certificate.
fn files() -> Vec<SourceFile> {
    let mut files = undescribed_with("listeners.yaml", LISTENERS, PARTNERS);
    for file in &mut files {
        file.text = file.text.replace(ROUTE, &format!("{ROUTE}{NEEDED}"));
    }
    assert!(files.iter().any(|file| file.text.contains(NEEDED)));
    files
}

/// A world where the connection has shown this certificate.
struct Shown(World, Result<ClientCertificate, &'static str>);

impl Shown {
    fn by(authority: &str, names: &[&str]) -> Self {
        let certificate = ClientCertificate {
            authority: authority.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        Self(World::with_scopes(&[]), Ok(certificate))
    }
}

impl Evidence for Shown {
    fn knows_revocations(&self, _: std::time::Duration) -> bool {
        true
    }

    fn authenticate(&self, provider: &IdentityProvider, token: &str) -> Result<Arc<Principal>, TokenFailure> {
        self.0.authenticate(provider, token)
    }

    fn client_certificate(&self) -> Result<Arc<ClientCertificate>, &'static str> {
        self.1.clone().map(Arc::new)
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        self.0.charge(charges)
    }
}

fn me() -> Request {
    Request::new("GET", "/api/v1/me").token("good")
}

fn production() -> Plan {
    plan(&files(), "production")
}

#[test]
fn tls6_one_name_of_the_list_is_enough_and_it_is_the_one_that_counts() {
    let plan = production();
    let shown = Shown::by("partners", &["other.example", "b.example"]);
    let permitted = permit(me().ask(&plan, &shown));
    assert_eq!(permitted.client_name(), Some("b.example"));
    let elsewhere = permit(Request::new("GET", "/health").ask(&plan, &shown));
    assert_eq!(elsewhere.client_name(), None, "the route needs none");
}

#[test]
fn tls6_everything_else_is_refused_before_the_token_is_looked_at() {
    let plan = production();
    let refusals = [
        (Shown(World::with_scopes(&[]), Err("expired")), "expired"),
        (Shown::by("strangers", &["b.example"]), "another_client_authority"),
        (Shown::by("partners", &[]), "another_client_name"),
        (Shown::by("partners", &["B.example"]), "another_client_name"),
        (
            Shown::by("partners", &["spiffe://bank.example/a/b"]),
            "another_client_name",
        ),
    ];
    for (shown, reason) in refusals {
        let refused = denial(me().ask(&plan, &shown));
        assert_eq!(
            (refused.kind, refused.phase),
            (DenialKind::ClientCertificate, Phase::Authentication)
        );
        assert_eq!(refused.reason, reason);
        assert!(refused.rule.key().ends_with("routes.me.client_certificate"));
        assert_eq!(shown.0.authentications.get(), 0);
    }
    // Evidence that knows nothing of certificates has none.
    let refused = denial(me().ask(&plan, &World::with_scopes(&[])));
    assert_eq!(refused.reason, "no_client_certificate");
}

#[test]
fn tls6_a_certificate_is_no_token() {
    let request = Request::new("GET", "/api/v1/me");
    let refused = denial(request.ask(&production(), &Shown::by("partners", &["b.example"])));
    assert_eq!(refused.kind, DenialKind::Unauthenticated);
}

const CASES: &str = r#"version: 1

tests:
  the-partner-gets-in:
    request:
      method: GET
      path: /api/v1/me
      token: { provider: customers, subject: usr_1 }
      client_certificate: { authority: partners, names: [b.example] }
    expect: { decision: permit }
    steps:
      - {}
      - request: { client_certificate: { authority: partners, names: [c.example] } }
        expect: { decision: deny, status: 403, rule: routes.me.client_certificate }
  nobody-else-does:
    request: { method: GET, path: /api/v1/me, token: { provider: customers, subject: usr_1 } }
    expect: { decision: deny, status: 403 }
"#;

fn suite(text: &str) -> Suite {
    let files = [SourceFile::new("tests/a.yaml", text)];
    Suite::read(&files).unwrap_or_else(|found| panic!("{}", render::findings(&found, &files)))
}

#[test]
fn a_case_supposes_a_certificate() {
    let plans = [production()];
    let suite = suite(CASES);
    assert!(suite.undefined_names(&["production"], &plans).is_empty());
    let failures = suite.run(&plans, |_, _| true).failures;
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn a_case_names_an_authority_that_a_listener_has() {
    let files = [SourceFile::new(
        "tests/a.yaml",
        CASES.replacen("authority: partners", "authority: partner", 1),
    )];
    let suite = suite(&files[0].text);
    let found = suite.undefined_names(&["production"], &[production()]);
    insta::assert_snapshot!(render::findings(&found, &files));
}

#[test]
fn what_a_slip_is_told() {
    let slips = [
        (
            "an authority that no listener asks for",
            "{ authority: partners",
            "{ authority: partner",
        ),
        ("no listener asks for any", ", client_authority: partners", ""),
        (
            "a name that is a path",
            "client_authority: partners",
            "client_authority: tls/partners",
        ),
        ("no names", r#"["spiffe://bank.example/a", b.example]"#, "[]"),
        (
            "the same certificate twice",
            "certificate: gateway",
            "certificate: gateway, more_certificates: [gateway]",
        ),
    ];
    let mut told = String::new();
    for (what, old, new) in slips {
        let mut slipped = files();
        for file in &mut slipped {
            file.text = file.text.replace(old, new);
        }
        let found = compile(&slipped, "production").expect_err(what);
        writeln!(told, "## {what}\n{}", render::human(&found, &slipped)).unwrap();
    }
    insta::assert_snapshot!(told);
}

#[test]
fn j33_tokens_must_be_bound_only_where_some_listener_asks_for_certificates() {
    let keys = "keys: file:idp.jwks.json\n    require_cnf: true";
    let mut bound = undescribed();
    for file in &mut bound {
        file.text = file.text.replace("keys: portico", keys);
    }
    let found = compile(&bound, "production").expect_err("no client could show one");
    let told = render::human(&found, &bound);
    assert!(
        told.contains("no listener asks for client certificates"),
        "{told}"
    );
    for file in &mut bound {
        file.text = file.text.replace(LISTENERS, PARTNERS);
    }
    assert!(compile(&bound, "production").is_ok());
}

#[test]
fn what_a_change_opens() {
    let told = |old: &[SourceFile], new: &[SourceFile]| {
        let described = |files| describe(files, "production").expect("a policy");
        let changes = diff(&described(old), &described(new));
        changes.iter().fold(String::new(), |mut text, change| {
            writeln!(text, "{} {}: {}", change.risk, change.key, change.consequence).unwrap();
            text
        })
    };
    let mut wider = files();
    for file in &mut wider {
        file.text = file.text.replace(", b.example]", ", b.example, c.example]");
    }
    insta::assert_snapshot!(format!(
        "## needed\n{}## needed no more\n{}## another name\n{}",
        told(&undescribed(), &files()),
        told(&files(), &undescribed()),
        told(&files(), &wider)
    ));
}
