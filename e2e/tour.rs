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
    for command in script
        .lines()
        .filter(|line| line.starts_with("curl") || line.contains("portico "))
    {
        assert!(
            printed.contains(command.trim()),
            "the tour that is kept is not the one that was printed: {command}"
        );
    }

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
    for expected in [
        "access_token",
        "acc_",
        "txn_",
        "401",
        "429",
        "policies",
        "login-failures",
    ] {
        assert!(said.contains(expected), "the tour shows no {expected}:\n{said}");
    }
    system.stop().await.unwrap();
}
