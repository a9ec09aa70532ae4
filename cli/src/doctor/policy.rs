//! Checks of the policy, and of the files that it names for TLS with upstreams.

use std::fs;
use std::path::{Path, PathBuf};

use ::policy::{Plan, compile};
use chrono::{DateTime, Utc};
use gateway::check_upstream_files;
use service_runtime::settings::variable;

use super::Finding;
use crate::data_directory::DataDirectory;
use crate::policy;

/// A certificate that ends sooner is a warning: time to replace it in working hours.
const SOON_DAYS: i64 = 21;

/// The policy that a system from this directory would run with, and the files of its upstreams.
pub(super) fn look(directory: Option<&DataDirectory>, chosen: &Path, now: DateTime<Utc>) -> Vec<Finding> {
    let what = "policy";
    let of_gateway = directory.and_then(|directory| setting(directory, "policies_dir"));
    let own = directory.map(DataDirectory::policies).filter(|own| own.is_dir());
    let Some(place) = of_gateway
        .or_else(|| chosen.is_dir().then(|| chosen.to_owned()))
        .or(own)
    else {
        return vec![Finding::ok(
            what,
            "none here yet; `portico up` brings the shipped ones",
        )];
    };
    let files = match policy::read(&place) {
        Ok(files) => files,
        Err(error) => return vec![Finding::fail(what, error.to_string(), "give --policies DIR")],
    };
    let environment = variable("APP_ENV").unwrap_or_else(|| "development".to_owned());
    let place = place.display();
    match compile(&files, &environment) {
        Ok(plan) => {
            let detail = format!("{} routes in {place} ({environment})", plan.routes().len());
            let mut findings = vec![Finding::ok(what, detail)];
            findings.extend(upstreams(directory, &plan, now));
            findings
        }
        Err(findings) => vec![Finding::fail(
            what,
            format!("{} findings in {place} ({environment})", findings.len()),
            format!("portico policy check {place}"),
        )],
    }
}

/// A path in the settings of the gateway.
fn setting(directory: &DataDirectory, name: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(directory.settings_of("gateway")).ok()?;
    let settings: serde_yaml::Value = serde_yaml::from_str(&text).ok()?;
    settings
        .get(name)
        .and_then(serde_yaml::Value::as_str)
        .map(PathBuf::from)
}

/// Each upstream over TLS: what is wrong here, the gateway would answer 502 to.
fn upstreams(directory: Option<&DataDirectory>, plan: &Plan, now: DateTime<Utc>) -> Vec<Finding> {
    let Some(directory) = directory else {
        return Vec::new();
    };
    let certificates = setting(directory, "certificate_dir").unwrap_or_else(|| directory.tls());
    let over_tls = plan
        .upstreams()
        .iter()
        .filter_map(|upstream| Some((upstream, upstream.tls.as_ref()?)));
    over_tls
        .map(|(upstream, tls)| {
            let checked = check_upstream_files(&certificates, tls, now);
            grade(&upstream.name, checked, &certificates, now)
        })
        .collect()
}

fn grade(
    upstream: &str,
    checked: anyhow::Result<DateTime<Utc>>,
    certificates: &Path,
    now: DateTime<Utc>,
) -> Finding {
    let what = "upstreams";
    let replace = format!("put new files into {}", certificates.display());
    match checked {
        Err(error) => Finding::fail(what, format!("{upstream}: {error:#}"), replace),
        Ok(end) => {
            let days = (end - now).num_days();
            let detail = format!("{upstream}: the first of its certificates ends in {days} days");
            if days < SOON_DAYS {
                Finding::warn(what, detail, replace)
            } else {
                Finding::ok(what, detail)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Grade;
    use chrono::TimeDelta;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
    use service_runtime::clock::Clock;

    #[test]
    fn a_wrong_policy_fails_with_the_command_that_shows_it() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.yaml"), "version: 1\nruotes: {}\n").unwrap();
        let findings = look(None, root.path(), Clock::system().now());
        let [finding] = findings.as_slice() else {
            panic!("{findings:?}");
        };
        assert_eq!(finding.grade, Grade::Fail);
        assert!(
            finding.fix.starts_with("portico policy check "),
            "{}",
            finding.fix
        );
    }

    const POLICY: &str = r#"version: 1
listeners: { public: { https: { bind: "[::]:443", tls: { min: "1.3", certificate: a } } } }
hosts: [api.example]
upstreams:
  core:
    address: https://core.example:8443
    tls: { min: "1.3", authority: bank, server_name: core.example }
    authorization: strip
    timeouts: { connect: 1s, read: 15s, total: 30s }
headers: { api: { set: { X-Frame-Options: DENY }, remove: [Server] } }
floor:
  limits: { head: 16KiB, headers: 64, target: 8KiB, body: 256KiB }
  timeouts: { head: 5s, body: 15s }
  rate: { per-address: { limit: 100/min, burst: 20, key: [address] } }
  headers: api
routes:
  one: { match: { method: GET, path: /one }, auth: none, because: a test, upstream: core }
"#;

    fn authority() -> String {
        let mut authority = CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.not_after = date_time_ymd(2030, 1, 1);
        let key = KeyPair::generate().unwrap();
        authority.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn an_upstream_over_tls_is_graded_by_the_files_that_the_gateway_would_read() {
        service_runtime::crypto::install_provider();
        let root = tempfile::tempdir().unwrap();
        let directory = DataDirectory::make(&root.path().join("data")).unwrap();
        fs::create_dir_all(root.path().join("policies/environments")).unwrap();
        fs::write(root.path().join("policies/a.yaml"), POLICY).unwrap();
        let overlay = "version: 1\nenvironment: development\n";
        fs::write(
            root.path().join("policies/environments/development.yaml"),
            overlay,
        )
        .unwrap();
        let end: DateTime<Utc> = "2030-01-01T00:00:00Z".parse().unwrap();
        let at = |days: i64| {
            let mut findings = look(
                Some(&directory),
                &root.path().join("policies"),
                end - TimeDelta::days(days),
            );
            assert_eq!(findings.len(), 2, "{findings:?}");
            let finding = findings.pop().unwrap();
            (finding.grade, finding.detail)
        };
        let (grade, detail) = at(100);
        assert_eq!(grade, Grade::Fail);
        assert!(
            detail.contains("bank.ca.pem") && detail.starts_with("core: "),
            "{detail}"
        );

        fs::write(directory.tls().join("bank.ca.pem"), authority()).unwrap();
        assert_eq!(
            at(100),
            (
                Grade::Ok,
                "core: the first of its certificates ends in 100 days".to_owned()
            )
        );
        assert_eq!(at(20).0, Grade::Warn);
        assert_eq!(at(-1).0, Grade::Fail, "no authority is left that is valid");

        fs::write(directory.tls().join("bank.ca.pem"), "not PEM").unwrap();
        assert_eq!(at(100).0, Grade::Fail);
    }
}
