//! What an operator types during a claim.

use anyhow::bail;

use crate::prove::ground::Ground;

/// Runs a command on the ground's data directory; what it printed, for programs.
pub(super) async fn portico(ground: &Ground, arguments: &[&str]) -> anyhow::Result<String> {
    let data_dir = ground.system.launch().data_dir.display().to_string();
    let more = ["--format", "json", "--data-dir", &data_dir];
    let arguments = [arguments, &more].concat();
    let (code, text) = ground.system.portico(&arguments).await?;
    if code != Some(0) {
        bail!("{arguments:?} ended with {code:?}: {text}");
    }
    Ok(text)
}
