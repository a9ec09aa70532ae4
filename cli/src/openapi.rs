//! `portico openapi`: the document that the core API serves, for tools and for the check that it is committed.

use anyhow::Context as _;

use crate::{Outcome, output};

pub(crate) fn run() -> anyhow::Result<Outcome> {
    let document = core_api::openapi()
        .to_pretty_json()
        .context("cannot print the OpenAPI document")?;
    output::line(&document);
    Ok(Outcome::Done)
}
