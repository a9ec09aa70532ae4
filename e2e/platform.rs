//! The page that puts a foreign API behind the gateway, run as it stands: what a newcomer pastes must work.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::stage::PORTICO;

const PAGE: &str = include_str!("../docs/put-your-api-behind-portico.md");

/// A block of commands, and the lines that the page shows as its output.
struct Step {
    commands: String,
    shown: Vec<String>,
}

/// Every `sh` block of the page, each with the `text` block that follows it directly.
fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut rest = PAGE;
    while let Some((between, block)) = rest.split_once("```") {
        let (body, after) = block.split_once("\n```\n").expect("a block ends");
        rest = after;
        let (language, body) = body.split_once('\n').unwrap();
        match language {
            "sh" => steps.push(Step {
                commands: body.to_owned(),
                shown: Vec::new(),
            }),
            "text" if between.trim().is_empty() => {
                let step = steps.last_mut().expect("output follows commands");
                step.shown = body.lines().map(str::to_owned).collect();
            }
            // What only somebody with a provider of their own can run.
            "text" => assert!(body.contains("idp.example/jwks.json"), "{body}"),
            other => panic!("a block of {other:?}"),
        }
    }
    steps
}

/// Ports that nobody uses now, in place of those of the page.
fn with_free_ports(script: &str) -> String {
    let sockets = [9000, 8443, 9901].map(|port| (port, TcpListener::bind("127.0.0.1:0").unwrap()));
    sockets.iter().fold(script.to_owned(), |script, (port, socket)| {
        let free = socket.local_addr().unwrap().port();
        assert!(script.contains(&port.to_string()));
        script.replace(&port.to_string(), &free.to_string())
    })
}

/// Whether the lines stand in the text in this order; `…` stands for anything.
fn shows(text: &str, lines: &[String]) -> Result<(), String> {
    let mut rest = text;
    for line in lines {
        for part in line.split('…') {
            let found = rest.split_once(part).ok_or_else(|| line.clone())?;
            rest = found.1;
        }
    }
    Ok(())
}

fn is_installed(program: &str) -> bool {
    std::process::Command::new(program)
        .arg("--version")
        .output()
        .is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_that_puts_a_foreign_api_behind_portico_runs_from_its_first_line_to_its_last() {
    if !is_installed("python3") || !is_installed("openssl") {
        skips::skip("python3 or openssl is not installed here, the page was not run");
        return;
    }
    let steps = steps();
    assert!(steps.len() > 15, "the page lost its commands: {}", steps.len());
    let binaries = Path::new(PORTICO).parent().unwrap().display();
    let mut script = format!("set -e\ntrap 'kill $(jobs -p)' EXIT\nPATH='{binaries}':\"$PATH\"\n");
    for step in &steps {
        script.extend([&step.commands, "\necho '=== next ==='\n"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new("bash")
        .arg("-c")
        .arg(with_free_ports(&script))
        .current_dir(folder.path())
        .env_remove("APP_ENV")
        .output();
    let output = tokio::time::timeout(Duration::from_secs(90), run)
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = std::fs::read_to_string(folder.path().join("try-portico/gateway.log")).unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}\n{log}");

    let outputs: Vec<&str> = said.split("=== next ===\n").collect();
    for (step, output) in steps.iter().zip(outputs) {
        if let Err(line) = shows(output, &step.shown) {
            panic!(
                "the page shows `{line}`, and this came:\n{output}\nof\n{}\n{errors}\n{log}",
                step.commands
            );
        }
    }
    // What `explain` said before anything ran stands in the log of what then happened.
    let rule = "routes.yaml:4 routes.list_orders";
    assert!(said.contains(&format!("rule      {rule}\n")), "{said}");
    assert!(log.contains(&format!(r#""rule":"{rule}""#)), "{log}");
    // No token is in the log, and what `explain` prints never holds one.
    assert!(
        log.contains(r#""route":"list_orders""#) && !log.contains("eyJ"),
        "{log}"
    );
    assert!(!said.contains("eyJ"), "{said}");
}
