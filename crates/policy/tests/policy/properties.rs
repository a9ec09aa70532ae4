//! Laws that hold for every request and every text.

use crate::differences::{differences, printed};
use crate::world::{Request, World, plan, shipped, shipped_with, status, undescribed};
use http::HeaderMap;
use policy::{
    Charge, Decision, Evidence, IdentityProvider, LimitState, LimitStates, Phase, Principal, SourceFile,
    TokenFailure, compile, render,
};
use proptest::{prelude::*, sample::Index};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

static PLAN: LazyLock<policy::Plan> = LazyLock::new(|| plan(&shipped(), "production"));
static FILES: LazyLock<Vec<SourceFile>> = LazyLock::new(undescribed);

const SCOPES: [&str; 6] = [
    "accounts:read",
    "accounts:write",
    "transfers:read",
    "transfers:write",
    "cash:write",
    "cards:read",
];

fn paths() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => proptest::sample::select(vec!["api", "v1", "me", "accounts", "acc_1", "entries", "transfers", "auth", "login", "docs"]),
        1 => proptest::sample::select(vec!["", "..", ".", "%2e%2e", "a%2fb", "x;y", "%6De", "A"]),
    ];
    prop_oneof![
        proptest::sample::select(
            PLAN.routes()
                .iter()
                .map(|route| route.path.replace("{id}", "x1").replace("{file}", "x2"))
                .collect::<Vec<_>>()
        ),
        proptest::collection::vec(segment, 0..6).prop_map(|segments| format!("/{}", segments.join("/"))),
        "\\PC{0,20}",
    ]
}

fn methods() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
}

/// Evidence in which something is always wrong.
struct Failing {
    token: Result<(), TokenFailure>,
    states: u8,
}

impl Evidence for Failing {
    fn authenticate(&self, _: &IdentityProvider, _: &str) -> Result<Arc<Principal>, TokenFailure> {
        let principal = Principal {
            subject: "usr_1".to_owned(),
            session: None,
            tenant: None,
            scopes: SCOPES.map(str::to_owned).to_vec(),
        };
        self.token.map(|()| Arc::new(principal))
    }

    fn knows_revocations(&self, _: Duration) -> bool {
        true
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        let state = |charge: &Charge, granted| LimitState {
            limit: charge.limit.clone(),
            granted,
            remaining: 1,
            reset: Duration::ZERO,
            retry_after: Duration::ZERO,
        };
        match self.states {
            // Nothing, one short, and the last of them refused.
            0 => LimitStates::new(),
            1 => charges.iter().skip(1).map(|charge| state(charge, true)).collect(),
            2 => charges
                .iter()
                .enumerate()
                .map(|(index, charge)| state(charge, index + 1 != charges.len()))
                .collect(),
            _ => charges.iter().map(|charge| state(charge, true)).collect(),
        }
    }
}

proptest! {
    #[test]
    fn counters_that_fail_deny_every_request(method in methods(), path in paths(), states in 0_u8..3, has_token: bool) {
        let request = Request::new(method, &path).body("{}");
        let request = if has_token { request.token("good") } else { request };
        let outcome = request.ask(&PLAN, &Failing { token: Ok(()), states });
        prop_assert!(matches!(outcome.decision, Decision::Deny(_)), "{:?}", outcome.decision);
    }

    #[test]
    fn a_token_that_cannot_be_checked_opens_no_protected_route(method in methods(), path in paths(), is_down: bool) {
        let token = Err(if is_down { TokenFailure::Unavailable("down") } else { TokenFailure::Refused("bad") });
        let outcome = Request::new(method, &path).token("good").body("{}").ask(&PLAN, &Failing { token, states: 9 });
        if let Decision::Permit(permit) = &outcome.decision {
            let is_open = matches!(permit.route().auth, policy::RouteAuth::Anyone { .. });
            prop_assert!(is_open);
            prop_assert!(permit.principal().is_none() && !permit.forwards_authorization());
        }
    }

    /// The path of a permit is the path that was received: nothing was decoded or rewritten on the way.
    #[test]
    fn a_permit_forwards_what_was_matched(method in methods(), path in paths()) {
        let outcome = Request::new(method, &path).token("good").body("{}").ask(&PLAN, &World::with_scopes(&SCOPES));
        if let Decision::Permit(permit) = &outcome.decision {
            let query = permit.query().map(|query| format!("?{query}")).unwrap_or_default();
            prop_assert_eq!(format!("{}{query}", permit.canonical_path()), path);
            prop_assert!(outcome.trace.iter().map(|trace| trace.phase).eq(Phase::ALL));
        }
    }

    #[test]
    fn any_header_and_host_are_answered(
        host in "\\PC{0,30}",
        fields in proptest::collection::vec(("[a-z-]{1,20}", proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in &fields {
            if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), http::HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        let mut request = Request::new("GET", "/api/v1/me").host(&host);
        request.headers = headers;
        prop_assert!(status(&request.ask(&PLAN, &World::with_scopes(&SCOPES))) != 200);
    }

    #[test]
    fn any_text_is_compiled_or_refused_without_panic(text in "\\PC{0,200}|([a-z_]{1,8}: ?[a-z0-9{}\\[\\],/\"&*!<|>%-]{0,12}\n {0,4}){0,12}") {
        let files = [SourceFile::new("any.yaml", text)];
        let found = compile(&files, "production").expect_err("never a whole policy");
        prop_assert!(!found.is_empty());
        prop_assert!(!render::human(&found, &files).is_empty());
    }

    #[test]
    fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let files = [SourceFile::from_bytes("any.yaml", &bytes)];
        prop_assert!(compile(&files, "production").is_err());
    }

    /// A slip anywhere in a shipped file is refused with a place, or is a policy again; it never panics.
    #[test]
    fn a_damaged_policy_is_answered(file: Index, at: Index, with in "[ a-z:{}\\[\\]\"'#&*%|>\\-\n0-9é\t]{0,3}", cut in 0_usize..4) {
        let files = damaged(file, at, &with, cut);
        if let Err(found) = compile(&files, "production") {
            prop_assert!(!found.is_empty());
            for finding in &found {
                prop_assert!(!finding.message.is_empty() && !finding.why.is_empty(), "{finding:?}");
            }
            let _ = render::human(&found, &files);
        }
    }
}

/// The shipped policies with a slip in one of them.
fn damaged(file: Index, at: Index, with: &str, cut: usize) -> Vec<SourceFile> {
    let mut files = FILES.clone();
    let index = file.index(files.len());
    let mut letters: Vec<char> = files[index].text.chars().collect();
    let start = at.index(letters.len());
    let end = (start + cut).min(letters.len());
    letters.splice(start..end, with.chars());
    files[index].text = letters.into_iter().collect();
    files
}

proptest! {
    // Each case compiles whole policies.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is printed means what was parsed, for whatever compiles.
    #[test]
    fn a_policy_with_a_slip_that_compiles_means_the_same_when_it_is_printed(file: Index, at: Index, with in "[ a-z#\n0-9]{0,2}", cut in 0_usize..2) {
        let files = damaged(file, at, &with, cut);
        if compile(&files, "production").is_ok() {
            prop_assert_eq!(differences(&files, &printed(&files), "production"), vec![]);
        }
    }

    /// More asked for never opens; more held never closes.
    #[test]
    fn adding_scopes_to_a_route_never_turns_deny_into_permit(
        asked in proptest::sample::subsequence(SCOPES.to_vec(), 0..=6),
        more in proptest::sample::subsequence(SCOPES.to_vec(), 0..=6),
        held in proptest::sample::subsequence(SCOPES.to_vec(), 0..=6),
    ) {
        let ask = |scopes: &[&str], held: &[&str]| {
            let written = format!("scopes: [{}]", scopes.iter().map(|scope| format!("{scope:?}")).collect::<Vec<_>>().join(", "));
            let files = shipped_with("routes/identity.yaml", "scopes: []\n    cors", &format!("{written}\n    cors"));
            let request = Request::new("GET", "/api/v1/me").token("good");
            status(&request.ask(&plan(&files, "production"), &World::with_scopes(held)))
        };
        let mut all = asked.clone();
        all.extend(more.iter().filter(|scope| !asked.contains(scope)));
        let (before, after) = (ask(&asked, &held), ask(&all, &held));
        prop_assert_eq!(before, if asked.iter().all(|scope| held.contains(scope)) { 200 } else { 403 });
        prop_assert!(before == 200 || after != 200, "{:?} then {:?} with {:?}", asked, all, held);
        let mut holding = held.clone();
        holding.extend(&more);
        prop_assert!(before != 200 || ask(&asked, &holding) == 200);
    }
}
