//! Names that cases use and the policy must define: a misspelt one would test nothing.

use super::{
    Suite,
    document::{Case, Environment},
    expect::Key,
    rules,
};
use crate::{
    Diagnostic, Plan,
    diagnostic::{Findings, Span, code},
    suggest,
};

impl Suite {
    /// Names that nothing defines: environments, listeners, client authorities, identity providers, routes, upstreams,
    /// limits and rules. `environments` are those of the bundle, `plans` what it compiles to in them; a case of an
    /// environment without a plan is not looked at.
    #[must_use]
    pub fn undefined_names(&self, environments: &[&str], plans: &[Plan]) -> Vec<Diagnostic> {
        let mut findings = Findings::default();
        for (_, case) in self.each() {
            if let Environment::Named(name) = &case.environment
                && !environments.contains(&name.value.as_str())
            {
                findings
                    .error(
                        code::UNKNOWN_ENVIRONMENT,
                        name.at,
                        format!("there is no environment `{}`", name.value),
                    )
                    .why("this case would never run")
                    .fix(suggest::fix(&name.value, environments));
            }
            for plan in plans.iter().filter(|plan| case.runs_in(plan)) {
                for (section, name, at) in names(case) {
                    check(plan, section, name, at, &mut findings);
                }
            }
        }
        findings.into_diagnostics(&self.files)
    }
}

/// What a name stands for.
#[derive(Clone, Copy)]
enum Section {
    Listeners,
    Identity,
    ClientAuthorities,
    Routes,
    Upstreams,
    Rate,
    Rules,
}

impl Section {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Listeners => "listeners",
            Self::Identity => "identity",
            Self::ClientAuthorities => "listeners.*.https.tls.client_authority",
            Self::Routes => "routes",
            Self::Upstreams => "upstreams",
            Self::Rate => "rate",
            Self::Rules => "rules",
        }
    }

    fn defined(self, plan: &Plan) -> Vec<&str> {
        let of_routes = || plan.routes().iter().flat_map(|route| route.rates());
        match self {
            Self::Listeners => plan.listeners().iter().map(|it| it.name.as_str()).collect(),
            Self::Identity => plan
                .identity_providers()
                .iter()
                .map(|it| it.name.as_str())
                .collect(),
            Self::ClientAuthorities => plan
                .listeners()
                .iter()
                .filter_map(|it| it.https.client_authority.as_deref())
                .collect(),
            Self::Routes => plan.routes().iter().map(|it| it.name.as_str()).collect(),
            Self::Upstreams => plan.upstreams().iter().map(|it| it.name.as_str()).collect(),
            Self::Rate => {
                let mut names: Vec<&str> = plan
                    .floor()
                    .rate
                    .iter()
                    .chain(of_routes())
                    .map(|limit| limit.name.as_str())
                    .collect();
                names.sort_unstable();
                names.dedup();
                names
            }
            Self::Rules => rules::names(plan),
        }
    }
}

/// Every name in a case that must mean something.
fn names(case: &Case) -> Vec<(Section, &str, Span)> {
    let mut names = Vec::new();
    for step in &case.steps {
        if let Some(listener) = &step.request.listener {
            names.push((Section::Listeners, listener.value.as_str(), listener.at));
        }
        if let Some(provider) = step.request.token.provider() {
            names.push((Section::Identity, provider.value.as_str(), provider.at));
        }
        if let Some(certificate) = &step.request.client_certificate {
            let authority = certificate.value.authority.as_str();
            names.push((Section::ClientAuthorities, authority, certificate.at));
        }
        for expectation in &step.expected {
            let section = match &expectation.key {
                Key::Route => Section::Routes,
                Key::Upstream => Section::Upstreams,
                Key::Violated => Section::Rate,
                Key::Rule => {
                    names.push((Section::Rules, expectation.value.as_str(), expectation.at));
                    continue;
                }
                Key::Decision | Key::Status | Key::Phase | Key::Serve | Key::Path => continue,
                Key::Header(_) => continue,
            };
            for name in expectation.value.split(", ") {
                names.push((section, name, expectation.at));
            }
        }
    }
    names
}

fn check(plan: &Plan, section: Section, name: &str, at: Span, findings: &mut Findings) {
    let defined = section.defined(plan);
    if defined.contains(&name) {
        return;
    }
    let (message, fix) = match section {
        Section::Rules => (
            format!("`{name}` is no rule of this policy"),
            suggest::nearest(name, defined.iter().copied()).map_or_else(
                || "write it as `portico policy explain` does, without file and line".to_owned(),
                |rule| suggest::did_you_mean(name, rule),
            ),
        ),
        _ => (
            format!("`{name}` is not defined in `{}`", section.as_str()),
            suggest::fix(name, &defined),
        ),
    };
    findings
        .error(code::UNDEFINED_NAME, at, message)
        .why("a case about something that is not there tests nothing")
        .fix(fix);
}
