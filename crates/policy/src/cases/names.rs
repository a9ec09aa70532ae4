//! Names that cases use and the policy must define: a misspelt one would test nothing.

use super::{
    Suite,
    document::{Case, Environment},
    expect::Key,
};
use crate::{
    Diagnostic, Plan,
    diagnostic::{Findings, Span, code},
    suggest,
};

impl Suite {
    /// Names that nothing defines: environments, listeners, client authorities, identity providers, routes, upstreams and limits. `plans`
    /// is the bundle compiled for each of its environments.
    #[must_use]
    pub fn undefined_names(&self, plans: &[Plan]) -> Vec<Diagnostic> {
        let mut findings = Findings::default();
        let environments: Vec<&str> = plans.iter().map(Plan::environment).collect();
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
                    .fix(suggest::fix(&name.value, &environments));
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
                Key::Decision | Key::Status | Key::Phase | Key::Rule | Key::Serve | Key::Path => continue,
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
    if !defined.contains(&name) {
        findings
            .error(
                code::UNDEFINED_NAME,
                at,
                format!("`{name}` is not defined in `{}`", section.as_str()),
            )
            .why("a case about something that is not there tests nothing")
            .fix(suggest::fix(name, &defined));
    }
}
