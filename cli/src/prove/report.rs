//! The report: JSON for machines, HTML for auditors, both saying the same.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::claims::Verdict;
use super::signature;

/// How a claim came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    Proved,
    Refuted,
    CheckIsBlind,
    ControlImpossible,
}

impl Status {
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Proved => "proved: the check is green, and its negative control is red",
            Self::Refuted => "NOT PROVED: the check found a contradiction",
            Self::CheckIsBlind => "NOT PROVED: the check did not notice the damage that was done on purpose",
            Self::ControlImpossible => "NOT PROVED: the negative control could not be carried out",
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ClaimResult {
    pub(super) id: &'static str,
    pub(super) statement: &'static str,
    pub(super) rests_on: &'static [&'static str],
    pub(super) method: &'static str,
    pub(super) check: Verdict,
    pub(super) damage: &'static str,
    pub(super) control: Verdict,
    pub(super) status: Status,
    pub(super) seconds: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) portico_version: String,
    pub(super) policy_hash: String,
    pub(super) started_at: DateTime<Utc>,
    pub(super) finished_at: DateTime<Utc>,
    pub(super) processors: usize,
    pub(super) results: Vec<ClaimResult>,
}

impl Report {
    pub(super) fn is_proved(&self) -> bool {
        !self.results.is_empty() && self.results.iter().all(|result| result.status == Status::Proved)
    }

    pub(super) fn summary(&self) -> String {
        let proved = self
            .results
            .iter()
            .filter(|result| result.status == Status::Proved)
            .count();
        format!("{proved} of {} claims proved", self.results.len())
    }
}

/// Where the report was written.
pub(super) struct Files {
    pub(super) html: PathBuf,
}

/// Writes report.json and report.html, and signs both: people read one, machines the other.
pub(super) fn write(report: &Report, directory: &Path, signing_key: &Path) -> anyhow::Result<Files> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    let json_file = directory.join("report.json");
    let json = serde_json::to_vec_pretty(report)?;
    std::fs::write(&json_file, &json)?;
    let signed_by = signature::sign(&json_file, &json, signing_key)?;
    let html = directory.join("report.html");
    let page = render(report, &signed_by)?;
    std::fs::write(&html, &page)?;
    signature::sign(&html, page.as_bytes(), signing_key)?;
    Ok(Files { html })
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2530;--soft:#5b6675;--line:#d9dee5;--paper:#fff;--good:#12703d;--bad:#b3261e;--tint:#f5f7fa}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa5b3;--line:#333c48;--paper:#14181e;--good:#5cc98b;--bad:#ff8a80;--tint:#1b2129}}\
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:52rem;margin:3rem auto;padding:0 1.25rem}\
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.15rem;margin:0}table{border-collapse:collapse;margin:1.25rem 0;width:100%}\
td,th{text-align:left;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}th{color:var(--soft);font-weight:500;width:11rem}\
section{border:1px solid var(--line);border-radius:.5rem;padding:1.1rem 1.25rem;margin:1.25rem 0}\
.good{color:var(--good)}.bad{color:var(--bad)}.status{font-weight:600;margin:.25rem 0 .75rem}\
h3{font-size:.8rem;letter-spacing:.04em;text-transform:uppercase;color:var(--soft);margin:1rem 0 .25rem}\
ul{margin:.25rem 0;padding-left:1.2rem}p{margin:.25rem 0}code{font:.9em ui-monospace,monospace;overflow-wrap:anywhere}\
.control{background:var(--tint);border-radius:.35rem;padding:.1rem .9rem .7rem;margin-top:1rem}@media print{body{margin:0}}";

fn render(report: &Report, signed_by: &str) -> anyhow::Result<String> {
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true);
    let (class, verdict) = if report.is_proved() {
        ("good", "All claims are proved.")
    } else {
        ("bad", "Not all claims are proved.")
    };
    let mut page = String::new();
    write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Portico: proof of {date}</title><style>{STYLE}</style></head><body>\
         <h1>Portico: what it claims, and what was found</h1><p class=\"status {class}\">{verdict} {summary}.</p>\
         <p>A system of its own was started with the shipped binary and put on trial through its public interfaces. \
         Each claim was checked twice: once on the system as it is, and once after deliberate damage. \
         A claim counts as proved only if the first check found nothing and the second found the damage.</p>\
         <table><tr><th>Portico</th><td>{version}</td></tr><tr><th>Policy enforced</th><td><code>{hash}</code></td></tr>\
         <tr><th>Begun</th><td>{begun}</td></tr><tr><th>Finished</th><td>{finished}</td></tr>\
         <tr><th>Processors</th><td>{processors}</td></tr><tr><th>Signed by</th><td><code>{signed_by}</code><br>\
         over the bytes of report.json and of this page; <code>portico prove --verify report.html --trusted-key …</code> checks it</td></tr></table>",
        date = time(report.finished_at),
        summary = escape(&report.summary()),
        version = escape(&report.portico_version),
        hash = escape(&report.policy_hash),
        begun = time(report.started_at),
        finished = time(report.finished_at),
        processors = report.processors,
        signed_by = escape(signed_by),
    )?;
    for result in &report.results {
        render_claim(&mut page, result)?;
    }
    page.push_str("</body></html>\n");
    Ok(page)
}

fn render_claim(page: &mut String, result: &ClaimResult) -> anyhow::Result<()> {
    let class = if result.status == Status::Proved {
        "good"
    } else {
        "bad"
    };
    write!(
        page,
        "<section><h2>{statement}</h2><p class=\"status {class}\">{status}</p><p>Claim <code>{id}</code>; rests on {rests_on}; \
         took {seconds} s.</p><h3>How it was checked</h3><p>{method}</p><h3>What was seen</h3>{check}\
         <div class=\"control\"><h3>Negative control: {damage}</h3><p>The same check had to fail on the damaged system. It said:</p>{control}</div></section>",
        statement = escape(result.statement),
        status = result.status.sentence(),
        id = result.id,
        rests_on = escape(&result.rests_on.join(", ")),
        seconds = result.seconds,
        method = escape(result.method),
        check = list(&result.check),
        damage = escape(result.damage),
        control = list(&result.control),
    )?;
    Ok(())
}

fn list(verdict: &Verdict) -> String {
    let mut items = String::from("<ul>");
    for fact in &verdict.facts {
        items.push_str(&format!("<li>{}</li>", escape(fact)));
    }
    for failure in &verdict.failures {
        items.push_str(&format!("<li class=\"bad\">{}</li>", escape(failure)));
    }
    items + "</ul>"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(status: Status) -> ClaimResult {
        ClaimResult {
            id: "refusal",
            statement: "No token, no answer.",
            rests_on: &["J1"],
            method: "Every route is called.",
            check: Verdict {
                facts: vec!["<b>seen</b>".to_owned()],
                failures: Vec::new(),
            },
            damage: "a route is opened",
            control: Verdict {
                facts: Vec::new(),
                failures: vec!["it answered".to_owned()],
            },
            status,
            seconds: 3,
        }
    }

    fn report(results: Vec<ClaimResult>) -> Report {
        Report {
            portico_version: "0.1.0".to_owned(),
            policy_hash: "abc".to_owned(),
            started_at: DateTime::UNIX_EPOCH,
            finished_at: DateTime::UNIX_EPOCH,
            processors: 2,
            results,
        }
    }

    #[test]
    fn a_blind_check_is_not_a_proof() {
        assert!(report(vec![result(Status::Proved)]).is_proved());
        assert!(!report(vec![result(Status::Proved), result(Status::CheckIsBlind)]).is_proved());
        assert!(!report(Vec::new()).is_proved());
    }

    #[test]
    fn what_was_seen_cannot_write_html() {
        let page = render(&report(vec![result(Status::Proved)]), "SHA256:x").unwrap();
        assert!(
            page.contains("&lt;b&gt;seen&lt;/b&gt;") && !page.contains("<b>seen"),
            "{page}"
        );
    }
}
