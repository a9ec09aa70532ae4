//! The tour that `portico up` prints, run as it stands: what a newcomer pastes must work.

use std::time::Duration;

use tokio::process::Command;

use crate::stage::{PORTICO, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_tour_runs_from_its_first_line_to_its_last() {
    let stage = Stage::new();
    let (system, _) = stage.start().await;
    let script = std::fs::read_to_string(stage.data_dir().join("tour.sh")).unwrap();
    let printed = system.printed().unwrap();
    assert!(
        printed.contains(script.trim()),
        "the tour that is kept is not the one that was printed:\n{printed}"
    );

    let folder = std::path::Path::new(PORTICO)
        .parent()
        .unwrap()
        .display()
        .to_string();
    let path = format!("{folder}:/usr/local/bin:/usr/bin:/bin");
    let run = Command::new("bash")
        .arg("-e")
        .arg(stage.data_dir().join("tour.sh"))
        .env("PATH", path)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(60), run)
        .await
        .unwrap()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
    // Registered, logged in, two accounts, a deposit, a transfer that left 75.00, the entries that show it.
    for expected in [
        "\"status\":\"accepted\"",
        "\"access_token\":\"",
        "Subject: Please confirm your e-mail address",
        "\n204\n",
        "checking acc_",
        "\"kind\":\"deposit\"",
        "\"from_account_id\":\"acc_",
        "\"balance_after\":7500",
    ] {
        assert!(said.contains(expected), "the tour shows no {expected}:\n{said}");
    }
    assert!(
        said.contains("HTTP/2 401") && said.contains("www-authenticate: Bearer"),
        "no refusal without a token:\n{said}"
    );
    assert!(
        said.contains("401\n401\n401\n401\n401\n429\n"),
        "the sixth wrong password is not the limited one:\n{said}"
    );
    assert!(
        said.contains("decision  deny with 429") && said.contains("rate.login-failures"),
        "no rule is named:\n{said}"
    );
    system.stop().await.unwrap();
}
