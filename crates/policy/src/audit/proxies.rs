//! Who is believed about the address of clients.

use super::{AuditRule, AuditSeverity, Auditor};
use ipnet::IpNet;

static WIDE_TRUST: AuditRule = AuditRule::new(
    "A1841",
    AuditSeverity::Medium,
    "a wide public network is believed about the address of clients",
    "whoever rents an address there passes every limit and every list of addresses",
    "CWE-348; RFC 7239 §8.1",
);

pub(super) static RULES: [&AuditRule; 1] = [&WIDE_TRUST];

impl Auditor<'_> {
    pub(super) fn proxies(&mut self) {
        for listener in self.plan.listeners() {
            let lists = listener
                .trusted_proxies
                .iter()
                .flat_map(|proxies| &proxies.from.lists);
            let networks = lists.flat_map(|list| list.networks());
            let Some(wide) = networks.copied().find(is_wide) else {
                continue;
            };
            self.find(
                &WIDE_TRUST,
                format!("{}.trusted_proxies.from", listener.rule.key()),
                format!("`{}` believes everybody in {wide}", listener.name),
                "the addresses of the proxies alone",
            );
        }
    }
}

/// More than a /24, or than a /48 of IPv6, where others have addresses too.
fn is_wide(network: &IpNet) -> bool {
    const PRIVATE: [&str; 5] = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
    ];
    let is_inside = |private: &&str| {
        private
            .parse()
            .is_ok_and(|private: IpNet| private.contains(network))
    };
    let is_private = PRIVATE.iter().any(is_inside) || network.network().is_loopback();
    let narrow = match network {
        IpNet::V4(_) => 24,
        IpNet::V6(_) => 48,
    };
    !is_private && network.prefix_len() < narrow
}
