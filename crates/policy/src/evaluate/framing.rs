//! Framing: sizes of the head, the rules of HTTP for it, and a host that the policy knows.

use super::{DenialKind, Evaluation, Phase, Stop};
use crate::{
    framing::{self, Fields},
    plan::{Limits, Rule},
};
use http::HeaderMap;

static RULE_HOST: Rule = Rule::of_language("language: hosts");

impl<'e> Evaluation<'e> {
    /// Checks the floor's sizes, the rules of HTTP and the host; answers the host as the policy spells it.
    pub(super) fn framing(&mut self) -> Result<&'e str, Stop> {
        let floor = &self.plan.floor;
        self.head_sizes(&floor.limits, &floor.rule)?;
        self.head_rules()?;
        let host = self.host()?;
        self.pass(
            Phase::Framing,
            &self.plan.floor.rule,
            "known host, head sound and within limits; what only its bytes tell, the gateway alone sees",
        );
        Ok(host)
    }

    /// Sizes of the request line and the headers; 414 and 431.
    pub(super) fn head_sizes(&mut self, limits: &Limits, rule: &Rule) -> Result<(), Stop> {
        let target = length(self.head.target.len());
        if target > limits.target {
            return Err(self.refuse(
                DenialKind::TargetTooLong,
                Phase::Framing,
                rule,
                "the target is too long",
            ));
        }
        let head = head_bytes(self.head.method, self.head.target, self.head.headers);
        if head > limits.head || length(self.head.headers.len()) > limits.headers {
            return Err(self.refuse(
                DenialKind::HeadTooLarge,
                Phase::Framing,
                rule,
                "the request has too many or too large headers",
            ));
        }
        Ok(())
    }

    /// FR-1 to FR-10, as far as they are not about bytes. The gateway has asked them before, of the bytes.
    fn head_rules(&mut self) -> Result<(), Stop> {
        let method = self.head.method.as_bytes();
        let mut fields = Fields::default();
        let checked = framing::check_method(method)
            .and_then(|()| fields.observe_map(self.head.headers))
            .and_then(|()| fields.finish(method));
        match checked {
            Ok(_) => Ok(()),
            Err(fault) => Err(self.refuse(
                fault.kind,
                Phase::Framing,
                &Rule::of_language(fault.rule),
                fault.detail,
            )),
        }
    }

    fn host(&mut self) -> Result<&'e str, Stop> {
        let Some(host) = without_port(self.head.host) else {
            return Err(self.refuse(
                DenialKind::MalformedRequest,
                Phase::Framing,
                &RULE_HOST,
                "the request needs one well-formed Host",
            ));
        };
        let known = self
            .plan
            .hosts
            .iter()
            .find(|known| known.eq_ignore_ascii_case(host))
            .map(String::as_str);
        known.ok_or_else(|| {
            self.refuse(
                DenialKind::MisdirectedRequest,
                Phase::Framing,
                &self.plan.hosts_rule,
                "this host is not served here",
            )
        })
    }
}

/// Size of a request line and its header lines in HTTP/1.1, whatever the version in use.
pub(crate) fn head_bytes(method: &str, target: &str, headers: &HeaderMap) -> u64 {
    // Each line has `: ` and CRLF beside its name and value; the request line has spaces and a version.
    let lines = headers.iter().map(|(name, value)| {
        length(name.as_str().len())
            .saturating_add(length(value.len()))
            .saturating_add(4)
    });
    let line = length(target.len()).saturating_add(length(method.len()));
    lines.fold(line.saturating_add(12), u64::saturating_add)
}

pub(super) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The host of `host[:port]`; `None` when it is empty or malformed (RFC 9110 §7.2).
fn without_port(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') {
        host.find(']')?.checked_add(1)?
    } else {
        host.find(':').unwrap_or(host.len())
    };
    let (name, port) = host.split_at_checked(end)?;
    let is_port = match port.strip_prefix(':') {
        Some(digits) => {
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number && digits.parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => port.is_empty(),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    (is_port && !name.is_empty() && name.bytes().all(fits)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::without_port;

    #[test]
    fn hosts_lose_their_port() {
        let cases = [
            ("api.bank.example", Some("api.bank.example")),
            ("API.bank.example:8443", Some("API.bank.example")),
            ("127.0.0.1:1", Some("127.0.0.1")),
            ("[::1]:8443", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("", None),
            (":80", None),
            ("a:", None),
            ("a:0", None),
            ("a:65535", Some("a")),
            ("a:65536", None),
            ("a:99999", None),
            ("a:b", None),
            ("a:1:2", None),
            ("a:123456", None),
            ("user@a", None),
            ("a/b", None),
            ("[::1", None),
            ("[::1]x", None),
            ("a b", None),
        ];
        for (host, expected) in cases {
            assert_eq!(without_port(host), expected, "{host}");
        }
    }
}
