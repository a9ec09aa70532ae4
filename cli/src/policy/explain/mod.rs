//! `portico policy explain`: one request through the evaluator that the gateway runs, with every phase shown.

mod curl;
mod log_line;
mod report;
mod request;
mod shell_words;
mod token;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use ::policy::{
    Charge, ClientCertificate, Evidence, IdentityProvider, LimitState, LimitStates, Listener,
    Outcome as Evaluated, Plan, Principal, RequestHead, TokenFailure,
};
use anyhow::Context as _;
use service_runtime::clock::Clock;

use self::log_line::LogLine;
use self::report::Report;
use self::request::Request;
use self::token::Token;
use super::bundle::Bundle;
use crate::arguments::{Format, PolicyExplainArguments};
use crate::{Outcome, Unreadable, output};

pub(crate) fn run(mut arguments: PolicyExplainArguments) -> anyhow::Result<Outcome> {
    let log_line = arguments.log_line.as_deref().map(LogLine::read).transpose()?;
    if let Some(line) = &log_line {
        line.write_options(&mut arguments)?;
    }
    let request = Request::read(&arguments)?;
    let (bundle, mut environment) = Bundle::chosen(
        arguments.policies.as_deref(),
        &arguments.running,
        arguments.env.as_deref(),
    )?;
    if arguments.env.is_none()
        && let Some(of_line) = log_line.as_ref().and_then(|line| line.environment(&bundle))
    {
        of_line.clone_into(&mut environment);
    }
    let plan = bundle.compile(&environment)?;
    if let Some(line) = &log_line {
        arguments.scopes = line.scopes(&plan);
    }
    let arguments = &arguments;
    let listener = request.listener(&plan, arguments.listener.as_deref())?;
    let client_certificate = client_certificate(arguments, listener)?;
    let host = match &request.host {
        Some(host) => host.clone(),
        None => plan.hosts().first().context("the policy names no host")?.clone(),
    };
    let mut head = RequestHead {
        listener: &listener.name,
        scheme: request.scheme,
        method: &request.method,
        target: &request.target,
        host: &host,
        headers: &request.headers,
        client: arguments.client,
        body: None,
        https_port: listener.https.bind.port(),
    };
    if plan.body_needed(&head).is_some() {
        head.body = Some(request.body.as_deref().unwrap_or(b"{}"));
    }
    let supposed = Supposed {
        arguments,
        plan: &plan,
        now_unix: Clock::system().now().timestamp(),
        token: RefCell::new(None),
        client_certificate,
        supposes_content: log_line.is_some() || request.says_no_body(),
    };
    let evaluated = plan.explain(&head, &supposed);
    if log_line.is_none() {
        check_exhausted(arguments, &evaluated)?;
    }
    let report = Report {
        bundle: &bundle,
        plan: &plan,
        head: &head,
        token: supposed.token.into_inner(),
        log_line: log_line.as_ref(),
        remark: request.remark(&plan, arguments.listener.as_deref()),
        evaluated: &evaluated,
    };
    match arguments.format {
        Format::Human => output::line(&report.text()),
        Format::Json => output::line(&serde_json::to_string_pretty(&report.json())?),
    }
    Ok(Outcome::Done)
}

/// The certificate that the options suppose, of whom the listener asks for.
fn client_certificate(
    arguments: &PolicyExplainArguments,
    listener: &Listener,
) -> Result<Option<Arc<ClientCertificate>>, Unreadable> {
    let names = arguments.client_certificate.clone();
    if names.is_empty() {
        return Ok(None);
    }
    let authority = listener.https.client_authority.clone().ok_or_else(|| {
        let name = &listener.name;
        Unreadable(format!(
            "--client-certificate: the listener `{name}` asks for none"
        ))
    })?;
    Ok(Some(Arc::new(ClientCertificate { authority, names })))
}

/// A limit that is said to be used up must be one that this request meets: a typo would be read as “within limits”.
fn check_exhausted(arguments: &PolicyExplainArguments, evaluated: &Evaluated) -> Result<(), Unreadable> {
    let named = arguments.exhausted.as_deref().unwrap_or_default();
    let met: Vec<&str> = evaluated
        .limits
        .iter()
        .map(|state| state.limit.name.as_str())
        .collect();
    if named.is_empty() || met.contains(&named) {
        return Ok(());
    }
    Err(Unreadable(format!(
        "--exhausted={named}: this request meets no such limit, only: {}",
        met.join(", ")
    )))
}

/// What a pure function cannot know, as the options suppose it.
struct Supposed<'a> {
    arguments: &'a PolicyExplainArguments,
    plan: &'a Plan,
    now_unix: i64,
    /// What the token of the request says, once a provider was asked.
    token: RefCell<Option<Token>>,
    client_certificate: Option<Arc<ClientCertificate>>,
    supposes_content: bool,
}

impl Evidence for Supposed<'_> {
    fn supposes_content(&self) -> bool {
        self.supposes_content
    }

    fn authenticate(&self, provider: &IdentityProvider, token: &str) -> Result<Arc<Principal>, TokenFailure> {
        if let Some(subject) = &self.arguments.subject {
            return Ok(Arc::new(Principal {
                subject: subject.clone(),
                session: None,
                tenant: None,
                scopes: self.arguments.scopes.clone(),
            }));
        }
        let token = Token::judge(token, provider, self.now_unix, self.client_certificate.is_some());
        let principal = token.principal().map(Arc::new).map_err(TokenFailure::Refused);
        self.token.replace(Some(token));
        principal
    }

    fn knows_revocations(&self, _: Duration) -> bool {
        true
    }

    fn client_certificate(&self) -> Result<Arc<ClientCertificate>, &'static str> {
        self.client_certificate.clone().ok_or("no_client_certificate")
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        charges.iter().map(|charge| self.state(charge)).collect()
    }
}

impl Supposed<'_> {
    fn state(&self, charge: &Charge) -> LimitState {
        let limit = charge.limit.clone();
        let is_of_floor = self
            .plan
            .floor()
            .rate
            .iter()
            .any(|floor| floor.name == limit.name);
        let granted = match self.arguments.exhausted.as_deref() {
            None => true,
            Some("") => is_of_floor,
            Some(name) => name != limit.name,
        };
        let (remaining, retry_after) = if granted {
            (limit.burst.saturating_sub(1), Duration::ZERO)
        } else {
            (
                0,
                limit.period / u32::try_from(limit.limit).unwrap_or(u32::MAX).max(1),
            )
        };
        LimitState {
            limit,
            granted,
            remaining,
            reset: retry_after,
            retry_after,
        }
    }
}
