//! Bodies as HTML forms and OAuth send them, `application/x-www-form-urlencoded`: names and values of text.

use super::{
    check::Check,
    fault::Place,
    parameters::{Reads, form_decoded},
};
use crate::json::Json;
use std::borrow::Cow;

/// What a form may hold.
#[derive(Debug)]
pub(super) struct Form {
    /// The members that its schema describes, sorted by name.
    pub(super) known: Vec<(String, Reads)>,
}

impl Form {
    /// The members of a body as an object; `None` when one of them is refused, which is noted.
    ///
    /// A name that is unknown, or comes twice, is one that a service may read otherwise than whoever looked at it before.
    pub(super) fn read<'b>(&self, body: &'b [u8], check: &mut Check<'_>) -> Option<Json<'b>> {
        let Ok(text) = std::str::from_utf8(body) else {
            check.fault(&Place::Root, "malformed", "must be text in UTF-8");
            return None;
        };
        let mut members: Vec<(Cow<'b, str>, Json<'b>)> = Vec::new();
        let mut fits = true;
        for pair in text.split('&').filter(|_| !text.is_empty()) {
            if check.is_full() {
                return None;
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match self.member(name, value) {
                Ok((name, _)) if members.iter().any(|(seen, _)| *seen == name) => {
                    check.fault(&Place::Name(&Place::Root, &name), "repeated", "may be given once");
                    fits = false;
                }
                Ok(member) => members.push(member),
                Err((name, code, detail)) => {
                    check.fault(&Place::Name(&Place::Root, &name), code, detail);
                    fits = false;
                }
            }
        }
        fits.then_some(Json::Map(members))
    }

    /// A member that is described, or where and why not.
    fn member<'b>(&self, name: &'b str, value: &'b str) -> Result<(Cow<'b, str>, Json<'b>), Fault<'b>> {
        let name = form_decoded(name).unwrap_or_default();
        let known = self
            .known
            .binary_search_by(|(known, _)| known.as_str().cmp(&name));
        let Some((_, reads)) = known.ok().and_then(|index| self.known.get(index)) else {
            return Err((name, "unknown_field", super::check::UNKNOWN));
        };
        match form_decoded(value) {
            Some(value) => Ok((name, reads.read(value))),
            None => Err((name, "malformed", "has an escape that is none, or is not UTF-8")),
        }
    }
}

/// The name of a member, a stable word, and the rule in words.
type Fault<'b> = (Cow<'b, str>, &'static str, &'static str);
