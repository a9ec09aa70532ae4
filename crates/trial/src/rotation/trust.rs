//! The offline root of a stage: its public part is pinned at the gateways, and it signs which keys may state something.

use std::path::Path;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

/// The fleet of every stage.
pub(crate) const FLEET: &str = "drill";
const ROOT: &str = "root.key";
const DOCUMENT: &str = "trust.json";

/// Makes a root key; its public part.
pub(crate) async fn make_root(binary: &Path, directory: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(binary);
    command
        .args(["trust", "init", "--root"])
        .arg(directory.join(ROOT));
    let said = run(command).await?;
    let public = said.split_whitespace().last();
    Ok(public.context("`trust init` tells no key")?.to_owned())
}

/// Signs which keys the control plane with these settings may sign with, and hands it over.
pub(crate) async fn hand_over(binary: &Path, directory: &Path, settings: &str) -> anyhow::Result<()> {
    let (settings, document) = (directory.join(settings), directory.join(DOCUMENT));
    let mut sign = Command::new(binary);
    sign.args(["trust", "sign", "--root"]).arg(directory.join(ROOT));
    sign.arg("--out").arg(&document).arg("--settings").arg(&settings);
    run(sign).await?;
    let mut accept = Command::new(binary);
    accept.args(["trust", "accept"]).arg(&document);
    accept.arg("--settings").arg(&settings);
    run(accept).await.map(drop)
}

async fn run(mut command: Command) -> anyhow::Result<String> {
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "`portico trust`: {said}");
    Ok(said)
}
