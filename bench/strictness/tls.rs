//! TLS as two scanners of others see it: sslyze against Mozilla's profiles, and testssl.sh.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::Arguments;
use crate::candidate::{Candidate, Site};

const PROFILES: [&str; 2] = ["intermediate", "modern"];

/// Suites of Mozilla's intermediate profile for TLS 1.2, in the words of OpenSSL.
const INTERMEDIATE: &str = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
                            ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
                            DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384";

/// What `testssl.sh` looks at: protocols, ciphers, forward secrecy, the server's choice and its defaults, vulnerabilities.
const SECTIONS: [&str; 6] = ["-p", "-s", "-f", "-P", "-S", "-U"];

pub(crate) async fn run(site: &Site, arguments: &Arguments) -> anyhow::Result<()> {
    let candidates = candidates(site, &arguments.binary).await?;
    let mut scans = Vec::new();
    for candidate in &candidates {
        let mut gaps = Vec::new();
        for profile in PROFILES {
            gaps.push(sslyze(&arguments.sslyze, site, candidate.port, profile).await?);
        }
        scans.push((
            candidate.name,
            gaps,
            testssl(&arguments.testssl, site, candidate.port).await?,
        ));
    }
    // What every server has is of the certificate and the machine, which they share.
    let shared: BTreeSet<Finding> = scans
        .iter()
        .map(|(_, _, findings)| findings.clone())
        .reduce(|all, findings| &all & &findings)
        .unwrap_or_default();

    let mut out = std::io::stdout();
    writeln!(
        out,
        "| | sslyze: intermediate | sslyze: modern | testssl.sh |\n| --- | --- | --- | --- |"
    )?;
    for (name, gaps, findings) in &scans {
        let own: Vec<String> = (findings - &shared).iter().map(Finding::to_string).collect();
        let cells: Vec<String> = gaps.iter().map(|gaps| listed(gaps)).collect();
        writeln!(out, "| {name} | {} | {} |", cells.join(" | "), listed(&own))?;
    }
    let shared: Vec<String> = shared.iter().map(Finding::to_string).collect();
    writeln!(out, "\ntestssl.sh, of all alike: {}", listed(&shared))?;
    Ok(())
}

async fn candidates(site: &Site, binary: &Path) -> anyhow::Result<Vec<Candidate>> {
    let debian = "ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3; ssl_prefer_server_ciphers on;";
    let curves = "ssl_ecdh_curve X25519:prime256v1:secp384r1; ssl_session_tickets off;";
    let intermediate = format!("ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers {INTERMEDIATE}; {curves}");
    let modern = format!("ssl_protocols TLSv1.3; {curves}");
    let suites = "ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
    let shipped = format!(
        "  ssl-default-bind-ciphers {INTERMEDIATE}\n  {suites}\n  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets"
    );
    let curved = |version: &str| {
        format!(
            "  ssl-default-bind-ciphers {INTERMEDIATE}\n  {suites}\n  ssl-default-bind-curves X25519:P-256:P-384\n  \
             ssl-default-bind-options ssl-min-ver {version} no-tls-tickets"
        )
    };
    Ok(vec![
        Candidate::portico("Portico, `min: \"1.2\"`", site, binary, "1.2", None).await?,
        Candidate::portico("Portico, `min: \"1.3\"`", site, binary, "1.3", None).await?,
        Candidate::nginx("nginx without settings", site, "").await?,
        Candidate::nginx("nginx, Debian's settings", site, debian).await?,
        Candidate::nginx("nginx, set to intermediate", site, &intermediate).await?,
        Candidate::nginx("nginx, set to modern", site, &modern).await?,
        Candidate::haproxy("haproxy without settings", site, "", "").await?,
        Candidate::haproxy("haproxy, Debian's settings", site, &shipped, "").await?,
        Candidate::haproxy("haproxy, set to intermediate", site, &curved("TLSv1.2"), "").await?,
        Candidate::haproxy("haproxy, set to modern", site, &curved("TLSv1.3"), "").await?,
    ])
}

fn listed(findings: &[String]) -> String {
    if findings.is_empty() {
        "nothing".to_owned()
    } else {
        findings.join("; ")
    }
}

/// What a server lacks for one of Mozilla's profiles.
async fn sslyze(program: &Path, site: &Site, port: u16, profile: &str) -> anyhow::Result<Vec<String>> {
    let output = Command::new(program)
        .args(["--mozilla_config", profile, "--certinfo_ca_file"])
        .arg(site.path("authority.pem"))
        .arg(format!("localhost:{port}"))
        .output()
        .await
        .with_context(|| format!("cannot start {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let gaps = gaps(&said);
    let is_compliant = said.contains("OK - Compliant");
    ensure!(is_compliant == output.status.success(), "sslyze: {said}");
    ensure!(is_compliant == gaps.is_empty(), "sslyze: {said}");
    Ok(gaps)
}

/// The lines behind `FAILED - Not compliant`, each with its name and how many things are in it.
fn gaps(said: &str) -> Vec<String> {
    let mut lines = said
        .lines()
        .skip_while(|line| !line.contains("FAILED - Not compliant"));
    lines.next();
    let lines = lines.map_while(|line| line.trim_start().strip_prefix("* "));
    let gaps = lines.map(|line| {
        let (name, rest) = line.split_once(": ").unwrap_or((line, ""));
        let things = rest
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'))
            .map(|(things, _)| things.split(", ").count());
        things.map_or_else(|| format!("{name}: {rest}"), |count| format!("{count} {name}"))
    });
    gaps.collect()
}

/// One line of the report of `testssl.sh`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Finding {
    id: String,
    severity: String,
    finding: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({})", self.severity, self.id, self.finding)
    }
}

async fn testssl(program: &Path, site: &Site, port: u16) -> anyhow::Result<BTreeSet<Finding>> {
    let report = site.path(&format!("{port}.json"));
    let output = Command::new(program)
        .args(["--quiet", "--color", "0", "--warnings", "off", "--ip", "one"])
        .args(SECTIONS)
        .arg("--add-ca")
        .arg(site.path("authority.pem"))
        .arg("--jsonfile")
        .arg(&report)
        .arg(format!("localhost:{port}"))
        .output()
        .await
        .with_context(|| format!("cannot start {}", program.display()))?;
    // Its exit code counts faults of its own and of the server alike.
    let text = std::fs::read_to_string(&report)
        .with_context(|| String::from_utf8_lossy(&output.stdout).into_owned())?;
    let findings: Vec<Finding> = serde_json::from_str(&text)?;
    ensure!(
        findings.iter().any(|finding| finding.id == "TLS1_3"),
        "testssl.sh saw nothing: {text}"
    );
    let is_gap = |finding: &Finding| !matches!(finding.severity.as_str(), "OK" | "INFO");
    Ok(findings.into_iter().filter(is_gap).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_profile_misses_is_named_and_counted() {
        let said = "x\n    localhost:1: FAILED - Not compliant.\n        * ciphers: Cipher suites {'A', 'B'} are supported, but \
                    should be rejected.\n        * certificate: it is odd\n\nrest\n        * not: counted\n";
        assert_eq!(gaps(said), ["2 ciphers", "certificate: it is odd"]);
        assert_eq!(gaps("    localhost:1: OK - Compliant.\n"), Vec::<String>::new());
    }
}
