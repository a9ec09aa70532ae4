//! `portico policy approve`: a second person signs exactly what is to go out.

use anyhow::Context as _;
use fleet::{Approval, Envelope, to_be_signed};

use super::arguments::PolicyApproveArguments;
use super::publish::content;
use crate::trust::RootFile;
use crate::{Outcome, output};

pub(crate) fn run(arguments: &PolicyApproveArguments) -> anyhow::Result<Outcome> {
    if let Some(file) = &arguments.new_key {
        let key = RootFile::make(file)?;
        output::line(&format!(
            "a key is in {}: keep it to yourself\nits line for the file of `policies.approvers` of the control plane:\n  - {{name: YOUR-NAME, public: {}}}",
            file.display(),
            key.public(),
        ));
        return Ok(Outcome::Done);
    }
    // clap asks for all of them.
    let word = |word: &Option<String>| word.clone().context("an option is missing");
    let environment = word(&arguments.environment)?;
    let key = RootFile::open(arguments.key.as_deref().context("--key is missing")?)?;
    let Some(content) = content(&arguments.directory, &environment)? else {
        return Ok(Outcome::Findings);
    };
    let approval = Approval {
        content: content.digest(),
        change_id: word(&arguments.change_id)?,
        environment,
        author: word(&arguments.author)?,
        approver: word(&arguments.approver)?,
    };
    anyhow::ensure!(
        approval.approver != approval.author,
        "{} is the author: a second person must agree",
        approval.author
    );
    let envelope = signed(&approval, Approval::PAYLOAD_TYPE, &key)?;
    output::line(&serde_json::to_string(&envelope)?);
    output::fault(&format!(
        "{} agrees to {} for {}: content {}",
        approval.approver, approval.change_id, approval.environment, approval.content
    ));
    Ok(Outcome::Done)
}

/// The envelope in which somebody says this with a key.
pub(super) fn signed(approval: &Approval, payload_type: &str, key: &RootFile) -> anyhow::Result<Envelope> {
    let payload = serde_json::to_vec(approval)?;
    Ok(Envelope {
        payload_type: payload_type.to_owned(),
        signatures: vec![key.sign(&to_be_signed(payload_type, &payload))?],
        payload,
    })
}
