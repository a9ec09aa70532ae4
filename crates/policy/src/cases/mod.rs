//! Unit tests of a policy: requests, what must become of them, and a clock that they move.
//!
//! **Invariant:** cases never reach a gateway. They stand in a folder of their own, which a bundle leaves out, and they
//! are decided by [`crate::Plan::evaluate`] itself, with the counters and tokens that each case supposes.

mod body;
mod coverage;
mod document;
mod expect;
mod names;
mod report;
mod request;
mod rules;
mod run;
mod seen;
mod sent;
mod supposed;
mod token;

pub use report::{human, json};
pub use run::{Difference, Failure, Report};

use crate::{
    Diagnostic, SourceFile,
    diagnostic::Findings,
    document::{extend, version},
    language,
    read::{Definitions, Field, Mapping, Named},
    yaml,
};
use document::Case;

/// Folder of the case files, in the policy folder.
pub const FOLDER: &str = "tests";

/// Every case of every case file.
#[derive(Debug)]
pub struct Suite {
    files: Vec<SourceFile>,
    cases: Definitions<Case>,
}

impl Suite {
    /// Reads case files; their names begin with `tests/`.
    ///
    /// # Errors
    /// Every finding of every file. A suite is read as a whole or not at all.
    pub fn read(files: &[SourceFile]) -> Result<Self, Vec<Diagnostic>> {
        let mut findings = Findings::default();
        let mut cases = Definitions::default();
        for (index, file) in files.iter().enumerate() {
            let Some(root) = yaml::parse(index, file, &mut findings) else {
                continue;
            };
            let Some(root) = Mapping::open(&Field::root(&root), language::CASES, &mut findings) else {
                continue;
            };
            version(&root, &mut findings);
            root.key("tests", &mut findings);
            extend(&mut cases, &root, "tests", Case::read, &mut findings);
        }
        if findings.len() > 0 {
            return Err(findings.into_diagnostics(files));
        }
        let files = files.to_vec();
        Ok(Self { files, cases })
    }

    /// How many cases there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// The name of every case.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.each().map(|(named, _)| named.name.as_str())
    }

    /// Every case with its name and place.
    fn each(&self) -> impl Iterator<Item = (&Named<Case>, &Case)> {
        self.cases
            .iter()
            .filter_map(|named| named.value.as_ref().map(|case| (named, case)))
    }
}
