//! Transport: TLS of the listeners, and what crosses a network in clear behind the gateway.

use super::{AuditRule, AuditSeverity, Auditor};
use crate::plan::{TlsVersion, Upstream, UpstreamAddress, UpstreamAuthorization};

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

static GATEWAY_UNKNOWN: AuditRule = AuditRule::new(
    "A1821",
    AuditSeverity::Medium,
    "an upstream over a network that does not know the gateway",
    "whoever reaches the service can say who a request is from, as the gateway does",
    "NIST SP 800-207 §2.1; OWASP ASVS 5.0 12.3.5",
);
static UPSTREAM_TLS_1_2: AuditRule = AuditRule::new(
    "A1822",
    AuditSeverity::Info,
    "TLS 1.2 is still spoken with an upstream",
    "it shows the certificates of both sides to the network; both sides are yours, so 1.3 costs nothing",
    "NIST SP 800-52r2 §3.1",
);

pub(super) static RULES: [&AuditRule; 5] = [
    &TLS_1_2,
    &UPSTREAM_IN_CLEAR,
    &TOKEN_IN_CLEAR,
    &GATEWAY_UNKNOWN,
    &UPSTREAM_TLS_1_2,
];

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
            self.upstream_tls(upstream);
            if !upstream.addresses().any(UpstreamAddress::crosses_in_clear) {
                continue;
            }
            let key = upstream.rule.key();
            let place = if upstream.address.crosses_in_clear() {
                "address"
            } else {
                "also_at"
            };
            self.find(
                &UPSTREAM_IN_CLEAR,
                format!("{key}.{place}"),
                format!("requests to `{}` cross a network in clear", upstream.name),
                "use `https://` with `tls`, a unix socket or a loopback address",
            );
            if upstream.authorization == UpstreamAuthorization::Forward {
                self.find(
                    &TOKEN_IN_CLEAR,
                    format!("{key}.authorization"),
                    format!("tokens for `{}` cross a network in clear", upstream.name),
                    "`authorization: strip`, or `https://` with `tls`",
                );
            }
        }
    }

    fn upstream_tls(&mut self, upstream: &Upstream) {
        let Some(tls) = &upstream.tls else { return };
        let key = upstream.rule.key();
        if tls.certificate.is_none() && !upstream.addresses().all(UpstreamAddress::is_local) {
            self.find(
                &GATEWAY_UNKNOWN,
                format!("{key}.tls"),
                format!("`{}` cannot tell the gateway from anyone else", upstream.name),
                "`certificate: NAME`, and let the service ask for it",
            );
        }
        if tls.min == TlsVersion::Tls12 {
            self.find(
                &UPSTREAM_TLS_1_2,
                format!("{key}.tls.min"),
                format!("TLS 1.2 may be spoken with `{}`", upstream.name),
                "`min: \"1.3\"`, when the service speaks it",
            );
        }
    }
}
