//! A world for the evaluator: the shipped policies, tokens by name, and counters on a clock that tests move.

use http::{HeaderMap, HeaderName, HeaderValue};
use policy::{
    Charge, Decision, Denial, Evidence, IdentityProvider, LimitState, LimitStates, Mode, Outcome, Permit,
    Plan, Principal, RequestHead, Scheme, SourceFile, TokenFailure, compile, render,
};
use smallvec::SmallVec;
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The folder of the shipped policies.
pub(crate) fn shipped_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

/// Every shipped file of the bundle.
pub(crate) fn shipped() -> Vec<SourceFile> {
    let (_, bundle) = shipped_cases_and_bundle();
    bundle
}

/// The shipped bundle without the documents that describe its API and its pages, for tests of other phases: their requests are made up.
pub(crate) fn undescribed() -> Vec<SourceFile> {
    let mut files = shipped();
    files.retain(|file| !SourceFile::is_api_document(&file.name));
    for file in &mut files {
        file.text = file
            .text
            .replace("    openapi: core-api.openapi.json\n", "")
            .replace("    openapi: pages.openapi.json\n", "")
            .replace("    openapi: none\n", "");
    }
    files
}

/// Every shipped case file.
pub(crate) fn shipped_cases() -> Vec<SourceFile> {
    let (cases, _) = shipped_cases_and_bundle();
    cases
}

fn shipped_cases_and_bundle() -> (Vec<SourceFile>, Vec<SourceFile>) {
    let root = shipped_folder();
    let (mut files, mut folders) = (Vec::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("policies can be read") {
            let path = entry.expect("policies can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml")
                || path.to_str().is_some_and(SourceFile::is_api_document)
            {
                let name = path
                    .strip_prefix(&root)
                    .expect("below the root")
                    .to_str()
                    .expect("UTF-8")
                    .to_owned();
                files.push(SourceFile::new(
                    name,
                    fs::read_to_string(&path).expect("policies can be read"),
                ));
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
        .into_iter()
        .partition(|file| file.name.starts_with("tests/"))
}

/// Compiles, or shows why not.
pub(crate) fn plan(files: &[SourceFile], environment: &str) -> Plan {
    compile(files, environment).unwrap_or_else(|found| panic!("{}", render::human(&found, files)))
}

/// The shipped bundle after replacing a text in one of its files.
pub(crate) fn shipped_with(file: &str, old: &str, new: &str) -> Vec<SourceFile> {
    with(shipped(), file, old, new)
}

/// The same of [`undescribed`].
pub(crate) fn undescribed_with(file: &str, old: &str, new: &str) -> Vec<SourceFile> {
    with(undescribed(), file, old, new)
}

fn with(mut files: Vec<SourceFile>, file: &str, old: &str, new: &str) -> Vec<SourceFile> {
    let changed = files
        .iter_mut()
        .find(|candidate| candidate.name == file)
        .expect("a shipped file");
    assert!(changed.text.contains(old), "{file} does not contain {old:?}");
    changed.text = changed.text.replacen(old, new, 1);
    files
}

/// Tokens and counters.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) tokens: HashMap<&'static str, Arc<Principal>>,
    pub(crate) now_ns: Cell<u64>,
    pub(crate) arrivals: RefCell<HashMap<SmallVec<[u8; 128]>, u64>>,
    pub(crate) authentications: Cell<u64>,
    /// How long ago the control plane last said what is revoked.
    pub(crate) revocations_age: Duration,
}

impl World {
    /// A world where the token `good` has these scopes.
    pub(crate) fn with_scopes(scopes: &[&str]) -> Self {
        let principal = Principal {
            subject: "usr_1".to_owned(),
            session: Some("ses_1".to_owned()),
            tenant: Some("ten_1".to_owned()),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        };
        Self {
            tokens: HashMap::from([("good", Arc::new(principal))]),
            ..Self::default()
        }
    }

    pub(crate) fn pass_time(&self, time: Duration) {
        self.now_ns
            .set(self.now_ns.get() + u64::try_from(time.as_nanos()).expect("a short time"));
    }

    pub(crate) fn refund(&self, charges: &[Charge]) {
        for charge in charges {
            let mut arrivals = self.arrivals.borrow_mut();
            let arrival = arrivals
                .get_mut(&charge.key)
                .expect("what is refunded was charged");
            *arrival = charge.limit.gcra.refund(*arrival, charge.cost);
        }
    }
}

impl Evidence for World {
    fn authenticate(&self, _: &IdentityProvider, token: &str) -> Result<Arc<Principal>, TokenFailure> {
        self.authentications.set(self.authentications.get() + 1);
        self.tokens
            .get(token)
            .cloned()
            .ok_or(TokenFailure::Refused("signature"))
    }

    fn knows_revocations(&self, within: Duration) -> bool {
        self.revocations_age <= within
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        let now = self.now_ns.get();
        let mut arrivals = self.arrivals.borrow_mut();
        let decide = |charge: &Charge| {
            charge
                .limit
                .gcra
                .decide(arrivals.get(&charge.key).copied().unwrap_or(0), now, charge.cost)
        };
        let decisions: Vec<_> = charges.iter().map(decide).collect();
        let mut pairs = charges.iter().zip(&decisions);
        if !pairs.any(|(charge, decision)| decision.is_err() && charge.limit.mode == Mode::Enforce) {
            for (charge, decision) in charges.iter().zip(&decisions) {
                if let Ok(granted) = decision {
                    arrivals.insert(charge.key.clone(), granted.tat_ns);
                }
            }
        }
        let state = |(charge, decision): (&Charge, &Result<policy::gcra::Granted, policy::gcra::Denied>)| {
            let (granted, remaining, reset, retry_after) = match decision {
                Ok(granted) => (true, granted.remaining, granted.reset_ns, 0),
                Err(denied) => (false, denied.remaining, denied.reset_ns, denied.retry_after_ns),
            };
            LimitState {
                limit: charge.limit.clone(),
                granted,
                remaining,
                reset: Duration::from_nanos(reset),
                retry_after: Duration::from_nanos(retry_after),
            }
        };
        charges.iter().zip(&decisions).map(state).collect()
    }
}

/// A request that tests change one thing of.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) scheme: Scheme,
    pub(crate) listener: &'static str,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) headers: HeaderMap,
    pub(crate) client: IpAddr,
    pub(crate) body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            scheme: Scheme::Https,
            listener: "public",
            method: method.to_owned(),
            target: target.to_owned(),
            host: "api.bank.example".to_owned(),
            headers: HeaderMap::new(),
            client: IpAddr::from([203, 0, 113, 9]),
            body: None,
        }
    }

    pub(crate) fn in_clear(mut self) -> Self {
        self.scheme = Scheme::Http;
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    pub(crate) fn client(mut self, client: &str) -> Self {
        self.client = client.parse().expect("an address");
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        self.headers
            .append(name, HeaderValue::from_str(value).expect("a value"));
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Another token than the one it has.
    pub(crate) fn token_instead(mut self, token: &str) -> Self {
        self.headers.remove("authorization");
        self.token(token)
    }

    pub(crate) fn body(mut self, body: &str) -> Self {
        self.body = Some(body.as_bytes().to_vec());
        self
    }

    pub(crate) fn head(&self) -> RequestHead<'_> {
        RequestHead {
            listener: self.listener,
            scheme: self.scheme,
            method: &self.method,
            target: &self.target,
            host: &self.host,
            headers: &self.headers,
            client: self.client,
            body: self.body.as_deref(),
            https_port: 8443,
        }
    }

    pub(crate) fn ask(&self, plan: &Plan, evidence: &dyn Evidence) -> Outcome {
        plan.explain(&self.head(), evidence)
    }
}

/// The permit, or a panic that shows the refusal.
pub(crate) fn permit(outcome: Outcome) -> Permit {
    match outcome.decision {
        Decision::Permit(permit) => permit,
        other => panic!("not permitted: {other:?}"),
    }
}

/// The denial, or a panic that shows what happened instead.
pub(crate) fn denial(outcome: Outcome) -> Denial {
    match outcome.decision {
        Decision::Deny(denial) => denial,
        other => panic!("not denied: {other:?}"),
    }
}

/// Status of a decision: 200 for a permit.
pub(crate) fn status(outcome: &Outcome) -> u16 {
    match &outcome.decision {
        Decision::Permit(_) => 200,
        Decision::Deny(denial) => denial.kind.status(),
        Decision::Respond(answer) => answer.status,
    }
}

/// The value of a header in a map.
pub(crate) fn value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The value of a header in a list.
pub(crate) fn field<'h>(headers: &'h [(HeaderName, HeaderValue)], name: &str) -> Option<&'h str> {
    headers
        .iter()
        .find(|(field, _)| field.as_str() == name)
        .and_then(|(_, value)| value.to_str().ok())
}
