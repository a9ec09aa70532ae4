//! From files to a plan: parse everything, apply the overlay, resolve names, report all findings at once.

mod answers;
mod environment;
mod openapi;
mod parts;
mod routes;
mod tighten;
mod waivers;

use crate::{
    Diagnostic, Plan, SourceFile,
    diagnostic::{Findings, Span, code},
    document::{Document, OverlayDocument},
    plan::Rule,
    read::{At, Definitions, Named},
    source::MAX_BUNDLE_BYTES,
    text, yaml,
};
use aws_lc_rs::digest;
use std::{collections::HashSet, fmt::Write};

/// Folder of the overlays.
pub(crate) const OVERLAYS: &str = "environments/";
/// What `APP_ENV` may say; there are no others, so that an overlay under any other name would never apply.
pub(crate) const ENVIRONMENTS: [&str; 3] = ["development", "production", "test"];

/// Compiles a bundle for one environment. `files` are all files of the policy folder, overlays included; their
/// order does not matter.
///
/// # Errors
/// Every finding of every file, by file and line. Nothing of a wrong bundle is ever used.
pub fn compile(files: &[SourceFile], environment: &str) -> Result<Plan, Vec<Diagnostic>> {
    let mut findings = Findings::default();
    let mut document = Document::default();
    let mut overlays = Vec::new();
    let mut bytes = 0_usize;
    for (index, file) in files.iter().enumerate() {
        bytes = bytes.saturating_add(file.text.len());
        if bytes > MAX_BUNDLE_BYTES {
            text::bundle_too_large(&mut findings);
            document.is_partial = true;
            break;
        }
        if openapi::is_document(&file.name) {
            // What cannot be read is told, also of a document that nothing names.
            text::is_readable(index, file, &mut findings);
            continue;
        }
        let root = yaml::parse(index, file, &mut findings);
        match (file.name.strip_prefix(OVERLAYS), root) {
            (Some(name), root) => {
                // What has been refused for its name is still the overlay that it was meant to be.
                let stem = name.split('.').next().unwrap_or(name);
                if root.is_some() && !environment::is_overlay(name) {
                    environment::refuse_overlay(index, name, stem, &mut findings);
                    continue;
                }
                let name = stem.to_owned();
                let overlay = root.and_then(|root| OverlayDocument::read(root, stem, &mut findings));
                overlays.push(environment::Overlay {
                    file: index,
                    name,
                    document: overlay,
                });
            }
            (None, Some(root)) => document.add(root, &mut findings),
            (None, None) => document.is_partial = true,
        }
    }
    if !files.iter().any(|file| !file.name.starts_with(OVERLAYS)) {
        findings
            .error(code::MISSING_KEY, Span::bundle(), "there are no policy files")
            .why("without a policy nothing is permitted")
            .fix("give the folder that holds the policy files");
    }
    let overlay = environment::apply(&mut document, &overlays, environment, &mut findings);
    let compiler = Compiler {
        files,
        document: &document,
        environment,
        used: HashSet::new(),
        empty: HashSet::new(),
        findings,
    };
    compiler.plan(overlay)
}

/// The environments that a bundle can be compiled for: production, and each that has an overlay.
#[must_use]
pub fn environments(files: &[SourceFile]) -> Vec<&str> {
    let mut names: Vec<&str> = files
        .iter()
        .filter_map(|file| file.name.strip_prefix(OVERLAYS)?.strip_suffix(".yaml"))
        .filter(|name| ENVIRONMENTS.contains(name))
        .chain(["production"])
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// State of one compilation.
struct Compiler<'d> {
    files: &'d [SourceFile],
    document: &'d Document,
    environment: &'d str,
    used: HashSet<(&'static str, &'d str)>,
    /// Sections without a definition that something refers to.
    empty: HashSet<&'static str>,
    findings: Findings,
}

/// A section with definitions that others refer to.
struct Section<'d, T> {
    name: &'static str,
    definitions: &'d Definitions<T>,
}

impl<'d> Compiler<'d> {
    fn plan(mut self, overlay: Option<usize>) -> Result<Plan, Vec<Diagnostic>> {
        let document = self.document;
        let addresses = self.address_lists();
        let listeners = self.listeners(&addresses);
        let certificates = self.certificates();
        let hosts = self.hosts();
        let upstreams = self.upstreams();
        let providers = self.providers();
        let profiles = self.profiles();
        let cors = self.cors_profiles();
        self.rate_names();
        let floor = self.floor(&profiles, &addresses);
        let parts = parts::Parts {
            addresses,
            upstreams,
            providers,
            profiles,
            cors,
        };
        let (routes, matcher) = self.routes(&parts, floor.as_ref());
        let routes = self.described(routes);
        self.misplaced_waivers();
        self.stale_answers(&routes);
        self.unused();
        self.unused_waivers();
        let waivers = self.waivers();
        let lockout = document
            .lockout
            .as_ref()
            .and_then(|(_, lockout)| lockout.as_ref());
        match floor.zip(hosts) {
            Some(((floor, headers), (hosts, hosts_rule))) if self.findings.len() == 0 => Ok(Plan {
                hash: self.hash(overlay),
                environment: self.environment.to_owned(),
                listeners: listeners.into_values().collect(),
                certificates,
                hosts,
                hosts_rule,
                upstreams: parts.upstreams.into_values().collect(),
                identity_providers: parts.providers.into_values().collect(),
                routes,
                matcher,
                floor,
                floor_headers: headers,
                lockout: lockout.map(|lockout| lockout.rules.clone()),
                waivers,
            }),
            _ => Err(self.findings.into_diagnostics(self.files)),
        }
    }

    /// The definition that a reference means; reports a name that nothing defines.
    fn resolve<T>(&mut self, section: &Section<'d, T>, name: &At<String>) -> Option<&'d Named<T>> {
        let found = section.definitions.named(&name.value);
        match found {
            Some(definition) => {
                self.used.insert((section.name, &definition.name));
            }
            None if self.document.is_partial => {}
            None if section.definitions.is_empty() => {
                // One cause, however many refer to it.
                if self.empty.insert(section.name) {
                    self.findings
                        .error(
                            code::UNDEFINED_NAME,
                            name.at,
                            format!("no file has the section `{}`", section.name),
                        )
                        .why("a reference to nothing would protect nothing")
                        .fix(format!("add `{}:` with `{}:` in it", section.name, name.value));
                }
            }
            None => {
                let names = section
                    .definitions
                    .iter()
                    .map(|definition| definition.name.as_str());
                let fix = self.findings.suggest(&name.value, names);
                self.findings
                    .error(
                        code::UNDEFINED_NAME,
                        name.at,
                        format!("`{}` is not defined in `{}`", name.value, section.name),
                    )
                    .why("a reference to nothing would protect nothing")
                    .fix(fix);
            }
        }
        found
    }

    /// Definitions without a use; told only when nothing else is wrong, since a slip elsewhere may be the cause.
    fn unused(&mut self) {
        if self.findings.len() > 0 {
            return;
        }
        let document = self.document;
        let certificates = document
            .certificates
            .iter()
            .map(|named| ("certificates", &named.name, named.at));
        let addresses = document
            .addresses
            .iter()
            .map(|named| ("addresses", &named.name, named.at));
        let upstreams = document
            .upstreams
            .iter()
            .map(|named| ("upstreams", &named.name, named.at));
        let providers = document
            .providers
            .iter()
            .map(|named| ("identity", &named.name, named.at));
        let profiles = document
            .profiles
            .iter()
            .map(|named| ("headers", &named.name, named.at));
        let cors = document.cors.iter().map(|named| ("cors", &named.name, named.at));
        for (section, name, at) in certificates
            .chain(addresses)
            .chain(upstreams)
            .chain(providers)
            .chain(profiles)
            .chain(cors)
        {
            if !self.used.contains(&(section, name.as_str())) {
                self.findings
                    .error(code::UNUSED, at, format!("nothing uses `{section}.{name}`"))
                    .why("it looks like protection and has no effect")
                    .fix("refer to it, or remove it");
            }
        }
    }

    fn rule(&self, at: Span, key: &str) -> Rule {
        let file = self.files.get(at.file).map_or("", |file| file.name.as_str());
        Rule::written(file, at.line, key)
    }

    fn missing_section(&mut self, name: &str, example: &str) {
        if !self.document.is_partial {
            self.findings
                .error(
                    code::MISSING_KEY,
                    Span::bundle(),
                    format!("no file has the section `{name}`"),
                )
                .why("there is no default: what is enforced must be written")
                .fix(format!("add `{example}`"));
        }
    }

    /// SHA-256 over the environment and every file that this plan was made of, by name.
    fn hash(&self, overlay: Option<usize>) -> String {
        let mut parts: Vec<&SourceFile> = self
            .files
            .iter()
            .enumerate()
            .filter(|(index, file)| !file.name.starts_with(OVERLAYS) || overlay == Some(*index))
            .map(|(_, file)| file)
            .collect();
        parts.sort_by(|a, b| a.name.cmp(&b.name));
        let mut context = digest::Context::new(&digest::SHA256);
        let mut add = |text: &str| {
            // The length goes first, so that no two bundles can run together to the same bytes.
            context.update(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(text.as_bytes());
        };
        add(self.environment);
        for file in parts {
            add(&file.name);
            add(&file.text);
        }
        context
            .finish()
            .as_ref()
            .iter()
            .fold(String::with_capacity(64), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    }
}
