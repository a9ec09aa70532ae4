//! Transport: TLS of the listeners, and what crosses a network in clear behind the gateway.

use super::{AuditRule, AuditSeverity, Auditor};
use crate::plan::{TlsVersion, UpstreamAddress, UpstreamAuthorization};

static TLS_1_2: AuditRule = AuditRule::new(
    "A1101",
    AuditSeverity::Info,
    "TLS 1.2 is still accepted",
    "only AEAD suites are offered, so it is safe; TLS 1.3 hides more and is faster",
    "Mozilla Server Side TLS (intermediate); BSI TR-02102-2",
);
static UPSTREAM_IN_CLEAR: AuditRule = AuditRule::new(
    "A1102",
    AuditSeverity::High,
    "an upstream in clear over a network",
    "whoever is on that network reads and changes requests that were protected until here",
    "OWASP API8:2023; OWASP ASVS 5.0 12.3.1",
);
static TOKEN_IN_CLEAR: AuditRule = AuditRule::new(
    "A1103",
    AuditSeverity::High,
    "bearer tokens forwarded in clear over a network",
    "a token that is read on the way is as good as its owner until it expires",
    "RFC 6750 §5.2; OWASP API2:2023",
);

pub(super) static RULES: [&AuditRule; 3] = [&TLS_1_2, &UPSTREAM_IN_CLEAR, &TOKEN_IN_CLEAR];

impl Auditor<'_> {
    pub(super) fn tls(&mut self) {
        let plan = self.plan;
        for listener in plan.listeners() {
            if listener.https.tls_min == TlsVersion::Tls12 {
                self.find(
                    &TLS_1_2,
                    format!("{}.https.tls.min", listener.rule.key()),
                    format!("listener `{}` accepts TLS 1.2", listener.name),
                    "`min: \"1.3\"`, when no client needs 1.2",
                );
            }
        }
        for upstream in plan.upstreams() {
            if upstream.addresses().all(UpstreamAddress::is_local) {
                continue;
            }
            let key = upstream.rule.key();
            let place = if upstream.address.is_local() {
                "also_at"
            } else {
                "address"
            };
            self.find(
                &UPSTREAM_IN_CLEAR,
                format!("{key}.{place}"),
                format!("requests to `{}` cross a network in clear", upstream.name),
                "use a unix socket or a loopback address",
            );
            if upstream.authorization == UpstreamAuthorization::Forward {
                self.find(
                    &TOKEN_IN_CLEAR,
                    format!("{key}.authorization"),
                    format!("tokens for `{}` cross a network in clear", upstream.name),
                    "`authorization: strip`, or an address that stays on this machine",
                );
            }
        }
    }
}
