//! Several policies of one header, as the Observatory merges them.

use super::policy::{Csp, NONE, Policy};

impl Csp {
    /// One policy for all, merged as the Observatory does it: what the first one says, less the sources that the next
    /// one with the same directive does not cover; what only a later one says allows nothing.
    pub(in crate::audit) fn merged(&self) -> Self {
        let mut merged = Policy::default();
        let names = self.0.iter().flat_map(|policy| &policy.directives);
        for (name, _) in names {
            if merged.get(name).is_none() {
                merged.directives.push((name.clone(), self.in_common(name)));
            }
        }
        Self(vec![merged])
    }

    fn in_common(&self, directive: &str) -> Vec<String> {
        let mut policies = self.0.iter();
        let first = policies.next().and_then(|first| first.get(directive));
        let next = policies.find_map(|policy| policy.get(directive));
        let common = match (first, next) {
            (None, _) => Vec::new(),
            (Some(first), None) => first.to_vec(),
            (Some(first), Some(next)) => [covered(first, next), covered(next, first)].concat(),
        };
        if common.is_empty() {
            vec![NONE.to_owned()]
        } else {
            common
        }
    }
}

/// Those of the sources that others name too, themselves or by a folder above.
fn covered(sources: &[String], others: &[String]) -> Vec<String> {
    let is_covered = |source: &&String| {
        let covers = |other: &String| other == *source || (other.ends_with('/') && source.starts_with(other));
        others.iter().any(covers)
    };
    sources.iter().filter(is_covered).cloned().collect()
}
