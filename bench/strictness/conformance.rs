//! HTTP/2 as somebody else's suite tries it.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::candidate::{Candidate, Site};

/// Seconds that it waits for an answer that does not come.
const PATIENCE_S: &str = "2";

pub(crate) async fn run(candidates: &[Candidate], site: &Site, h2spec: &Path) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "| | passed | skipped | failed |\n| --- | --- | --- | --- |")?;
    for candidate in candidates {
        let output = Command::new(h2spec)
            .args(["--tls", "--insecure", "--strict", "--timeout", PATIENCE_S])
            .args(["--host", "localhost", "--path", "/v1/items/1", "--port"])
            .arg(candidate.port.to_string())
            .output()
            .await
            .with_context(|| format!("cannot start {}", h2spec.display()))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        site.write(&format!("{}.h2spec", candidate.port), &said)?;
        let [passed, skipped, failed] = counts(&said).with_context(|| format!("no result: {said}"))?;
        let failures = failures(&said);
        if u32::try_from(failures.len()) != Ok(failed) {
            bail!("{failed} failures, and these are named: {failures:?}");
        }
        writeln!(
            out,
            "| {} | {passed} | {skipped} | {failed}: {} |",
            candidate.name,
            failures.join(", ")
        )?;
    }
    Ok(())
}

/// `146 tests, 118 passed, 1 skipped, 27 failed`.
fn counts(said: &str) -> Option<[u32; 3]> {
    let line = said.lines().rev().find(|line| line.contains(" tests, "))?;
    let count = |what: &str| {
        let words = line.split(", ").find_map(|part| part.strip_suffix(what))?;
        words.trim().parse().ok()
    };
    Some([count("passed")?, count("skipped")?, count("failed")?])
}

/// The section and the number of each case below `Failures:`.
fn failures(said: &str) -> Vec<String> {
    let (mut document, mut section, mut failures) = ("", "", Vec::new());
    let lines = said.lines().skip_while(|line| !line.starts_with("Failures:"));
    for line in lines {
        let text = line.trim_start();
        if let Some(case) = text.strip_prefix("× ") {
            let number = case.split(':').next().unwrap_or_default();
            failures.push(format!("{document}{section}-{number}"));
        } else if !line.starts_with(' ') && !text.is_empty() {
            document = if text.starts_with("HPACK") { "HPACK " } else { "" };
        } else if let Some((number, _)) = text.split_once(". ") {
            let is_section = number.chars().all(|c| c.is_ascii_digit() || c == '.');
            section = if is_section { number } else { section };
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_named_by_document_section_and_number() {
        let said = "HPACK: x\n  × 9: of the run itself\n\nFailures: \n\nHypertext Transfer Protocol Version 2 (HTTP/2)\n  \
                    4. HTTP Frames\n    4.2. Frame Size\n      using source address 127.0.0.1:1\n      × 2: Sends\n        \
                    -> The endpoint MUST. Really\n             Actual: DATA Frame (length:1)\n      × 3: Sends\n\n\
                    HPACK: Header Compression\n  6. Binary\n    6.1. Indexed\n      × 1: Sends\n\n\
                    Finished in 53.0919 seconds\n146 tests, 142 passed, 1 skipped, 3 failed\n";
        assert_eq!(failures(said), ["4.2-2", "4.2-3", "HPACK 6.1-1"]);
        assert_eq!(counts(said), Some([142, 1, 3]));
        assert_eq!(counts("Error: refused"), None);
    }
}
