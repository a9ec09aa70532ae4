//! `portico prove`, as an auditor runs it.

use serde_json::Value;
use tokio::process::Command;

use crate::stage::{PORTICO, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn every_claim_is_proved_and_every_negative_control_is_red() {
    let stage = Stage::new();
    let out = stage.path().join("proof");
    let policies = stage.policies();
    let key = stage.path().join("report-key");
    let output = Command::new(PORTICO)
        .arg("prove")
        .args(["--transfers", "2000", "--clients", "32"])
        .arg("--out")
        .arg(&out)
        .arg("--policies")
        .arg(&policies)
        .arg("--signing-key")
        .arg(&key)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");

    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    let results = report["results"].as_array().unwrap();
    assert_eq!(results.len(), 30);
    for result in results {
        assert_eq!(result["status"], "proved", "{result}");
        assert_eq!(result["check"]["failures"], Value::Array(Vec::new()), "{result}");
        assert_ne!(
            result["control"]["failures"],
            Value::Array(Vec::new()),
            "{result}"
        );
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("All claims are proved."), "{page}");

    let verify = [PORTICO, "prove", "--verify"];
    let page_file = out.join("report.html");
    let of_page = Command::new(verify[0])
        .args(&verify[1..])
        .arg(&page_file)
        .output()
        .await
        .unwrap();
    assert_eq!(of_page.status.code(), Some(0), "the page is signed, too");
    std::fs::write(&page_file, page.replace("All claims", "Most claims")).unwrap();
    let edited = Command::new(verify[0])
        .args(&verify[1..])
        .arg(&page_file)
        .output()
        .await
        .unwrap();
    assert_ne!(edited.status.code(), Some(0), "an edited page must not verify");
    let report_file = out.join("report.json");
    let verified = Command::new(verify[0])
        .args(&verify[1..])
        .arg(&report_file)
        .output()
        .await
        .unwrap();
    assert_eq!(verified.status.code(), Some(0));
    let forged = std::fs::read_to_string(&report_file)
        .unwrap()
        .replacen("proved", "provec", 1);
    std::fs::write(&report_file, forged).unwrap();
    let refused = Command::new(verify[0])
        .args(&verify[1..])
        .arg(&report_file)
        .output()
        .await
        .unwrap();
    assert_ne!(refused.status.code(), Some(0), "a changed report must not verify");
}
