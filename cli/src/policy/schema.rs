//! `portico policy schema`: JSON Schema of policy files, for editors.

use anyhow::Context as _;

use crate::{Outcome, output};

pub(crate) fn run() -> anyhow::Result<Outcome> {
    let schema =
        serde_json::to_string_pretty(&::policy::language::schema()).context("cannot print the schema")?;
    output::line(&schema);
    Ok(Outcome::Done)
}
