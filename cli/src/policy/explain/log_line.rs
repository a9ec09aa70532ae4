//! A line of the gateway's access log, and the request that it tells of, as far as it does.

use std::io::Read as _;
use std::net::IpAddr;

use ::policy::{Decision, Outcome, Plan, environments};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Unreadable;
use crate::arguments::PolicyExplainArguments;
use crate::policy::bundle::Bundle;

/// Longest line that is read from standard input, in bytes.
const MAX_LINE_BYTES: u64 = 64 * 1024;
/// What stands in place of a method or a path that was never read.
const UNREAD: &str = "-";

/// The fields that say what was asked and what became of it.
#[derive(Debug, Deserialize)]
pub(super) struct LogLine {
    method: String,
    /// Left out of a line with reduced personal data when no route is known; else that has the template of the route.
    path: Option<String>,
    /// An address, or a network with reduced personal data.
    client: Option<String>,
    listener: Option<String>,
    decision: String,
    rule: Option<String>,
    reason: Option<String>,
    status: u16,
    subject: Option<String>,
    bundle: Option<String>,
}

impl LogLine {
    /// Reads a line as given, or from standard input for `-`; what a supervisor writes before it does not matter.
    ///
    /// # Errors
    /// [`Unreadable`] when it is no access line.
    pub(super) fn read(written: &str) -> Result<Self, Unreadable> {
        let text = match written {
            "-" => {
                let mut text = String::new();
                let mut input = std::io::stdin().take(MAX_LINE_BYTES);
                let read = input.read_to_string(&mut text);
                read.map_err(|error| Unreadable(format!("--log-line -: reading standard input: {error}")))?;
                text
            }
            line => line.to_owned(),
        };
        let object = text
            .find('{')
            .and_then(|start| text.get(start..))
            .unwrap_or_default();
        serde_json::from_str(object.trim()).map_err(|error| {
            Unreadable(format!(
                "--log-line: not a line of the gateway's access log ({error}): give one whole line, as JSON"
            ))
        })
    }

    /// Writes the request into the options, with what must be supposed for it to go as far as it did.
    ///
    /// # Errors
    /// [`Unreadable`] when the line tells of no request: its head was refused before anything of it was read.
    pub(super) fn write_options(&self, options: &mut PolicyExplainArguments) -> Result<(), Unreadable> {
        let Some(path) = &self.path else {
            return Err(Unreadable(
                "--log-line: the line holds no path, because no route was known and personal data are reduced"
                    .to_owned(),
            ));
        };
        if self.method == UNREAD || path == UNREAD {
            return Err(Unreadable(format!(
                "--log-line: the head was refused with {} by {} before a policy was asked, and the line tells nothing \
                 of it",
                self.status,
                self.rule.as_deref().unwrap_or("a rule of HTTP")
            )));
        }
        options.method.clone_from(&self.method);
        // What stands for a segment is named in braces.
        options.path = Some(path.replace(['{', '}'], ""));
        if let Some(client) = self.client_address() {
            options.client = client;
        }
        if let Some((listener, side)) = self.listener.as_deref().and_then(|label| label.rsplit_once('.')) {
            options.listener = Some(listener.to_owned());
            options.http = side == "http";
        }
        let key = self.key();
        if key.ends_with(".auth") && self.reason.as_deref() != Some("missing") {
            options.headers.push("Authorization: Bearer refused".to_owned());
        } else if !key.ends_with(".auth") {
            options.subject = Some(self.subject.clone().unwrap_or_else(|| "somebody".to_owned()));
        }
        if self.status == 429 {
            options.exhausted = key.rsplit_once(".rate.").map(|(_, limit)| limit.to_owned());
        }
        Ok(())
    }

    /// The scopes that the token must have had: all, or not those that were missing.
    pub(super) fn scopes(&self, plan: &Plan) -> Vec<String> {
        if self.key().ends_with(".scopes") {
            return Vec::new();
        }
        plan.routes()
            .iter()
            .flat_map(|route| route.scopes.clone())
            .collect()
    }

    /// The client, or the first address of its network.
    fn client_address(&self) -> Option<IpAddr> {
        self.client.as_deref()?.split('/').next()?.parse().ok()
    }

    /// The name of the rule without its file and line.
    fn key(&self) -> &str {
        let rule = self.rule.as_deref().unwrap_or_default();
        match rule.split_once(' ') {
            Some((place, key)) if place.contains(".yaml:") => key,
            _ => rule,
        }
    }

    /// The environment in which this bundle is the one of the line.
    pub(super) fn environment<'b>(&self, bundle: &'b Bundle) -> Option<&'b str> {
        let of_line = self.bundle.as_deref()?;
        let is_it = |environment: &&str| {
            ::policy::compile(&bundle.files, environment).is_ok_and(|plan| plan.hash().starts_with(of_line))
        };
        environments(&bundle.files).into_iter().find(is_it)
    }

    /// Whether the bundle is the one that decided then, in words.
    fn bundle_in_words(&self, plan: &Plan) -> String {
        match &self.bundle {
            Some(bundle) if plan.hash().starts_with(bundle.as_str()) => {
                format!("{bundle}, the one that decided then")
            }
            Some(bundle) => format!(
                "{}, and {bundle} decided then: find it with --running or --policies git:REV",
                plan.short_hash()
            ),
            None => "the line does not say which bundle decided".to_owned(),
        }
    }

    fn is_met_by(&self, outcome: &Outcome) -> bool {
        let (decision, rule) = match &outcome.decision {
            Decision::Permit(permit) => ("permit", &permit.route().rule),
            Decision::Deny(denial) => ("deny", &denial.rule),
            Decision::Respond(answer) => ("answer", &answer.rule),
        };
        // In another bundle the same rule may stand in another line.
        self.decision == decision && self.key() == rule.key()
    }

    /// What the line says, and whether the replay came to the same.
    pub(super) fn in_words(&self, plan: &Plan, outcome: &Outcome) -> Vec<String> {
        let rule = self.rule.as_deref().unwrap_or("no rule");
        let status = self.status;
        vec![
            format!(
                "then      {}, status {status}, by {}",
                printable(&self.decision),
                printable(rule)
            ),
            format!("with      {}", printable(&self.bundle_in_words(plan))),
            if self.is_met_by(outcome) {
                "replay    the same decision by the same rule".to_owned()
            } else {
                "replay    ANOTHER DECISION OR RULE: another bundle, or something that the line does not tell"
                    .to_owned()
            },
            "supposed  host, query, headers, body and scopes, of which the line tells nothing".to_owned(),
        ]
    }

    /// The same for programs.
    pub(super) fn json(&self, plan: &Plan, outcome: &Outcome) -> Value {
        json!({
            "decision": self.decision, "status": self.status, "rule": self.rule, "bundle": self.bundle,
            "is_same_bundle": self.bundle.as_deref().map(|bundle| plan.hash().starts_with(bundle)),
            "is_same_decision": self.is_met_by(outcome),
        })
    }
}

/// Text of a log cannot drive a terminal.
fn printable(text: &str) -> String {
    ::policy::render::visible(text)
}
