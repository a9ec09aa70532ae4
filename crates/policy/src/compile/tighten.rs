//! What a route may only make tighter: sizes, timeouts, limits.

use super::{Compiler, routes::FloorParts, waivers};
use crate::{
    diagnostic::{Span, code},
    document::{RouteDocument, TimeoutsDocument},
    plan::{Floor, Limits, RateKey, RateLimit, Timeouts, Upstream},
    read::{At, Named, in_units},
};
use http::Method;
use std::{sync::Arc, time::Duration};

/// What a gateway can hand on after it was read to decide.
pub(super) const MOST_KEYED_BODY: u64 = 64 * 1_024;

pub(super) const fn takes_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

impl Compiler<'_> {
    pub(super) fn limits(
        &mut self,
        named: &Named<RouteDocument>,
        written: &RouteDocument,
        floor: &Floor,
    ) -> Option<Limits> {
        let before = self.findings.len();
        let document = self.document;
        let floor_document = document.floor.as_ref().and_then(|(_, floor)| floor.as_ref())?;
        let mut tighten = |key: &str, route: Option<&At<u64>>, floor: Option<&At<u64>>, value: u64| {
            let Some(route) = route else { return value };
            let path = format!("{}.limits.{key}", named.path);
            if route.value > value
                && !waivers::covers(document, &mut self.used, code::LOOSER_THAN_FLOOR, &path)
            {
                let finding = self.findings.error(
                    code::LOOSER_THAN_FLOOR,
                    route.at,
                    format!("{path} is looser than the floor"),
                );
                finding
                    .why("the floor is what every route can rely on")
                    .fix("tighten it, or raise the floor for all");
                if let Some(floor) = floor {
                    finding.related(floor.at, "the floor says");
                }
            }
            route.value
        };
        let (own, base) = (&written.limits, &floor_document.limits);
        let limits = Limits {
            head: tighten("head", own.head.as_ref(), base.head.as_ref(), floor.limits.head),
            headers: tighten(
                "headers",
                own.headers.as_ref(),
                base.headers.as_ref(),
                floor.limits.headers,
            ),
            target: tighten(
                "target",
                own.target.as_ref(),
                base.target.as_ref(),
                floor.limits.target,
            ),
            body: tighten("body", own.body.as_ref(), base.body.as_ref(), floor.limits.body),
        };
        (self.findings.len() == before).then_some(limits)
    }

    pub(super) fn timeouts(
        &mut self,
        named: &Named<RouteDocument>,
        written: Option<&(Span, TimeoutsDocument)>,
        upstream: &Upstream,
    ) -> Timeouts {
        let Some((_, written)) = written else {
            return upstream.timeouts;
        };
        let document = self.document;
        let mut tighten = |key: &str, own: Option<&At<Duration>>, most: Duration| {
            let Some(own) = own else { return most };
            let path = format!("{}.timeouts.{key}", named.path);
            if own.value > most && !waivers::covers(document, &mut self.used, code::LOOSER_THAN_FLOOR, &path)
            {
                self.findings
                    .error(
                        code::LOOSER_THAN_FLOOR,
                        own.at,
                        format!("{path} is longer than that of upstream `{}`", upstream.name),
                    )
                    .why("the upstream's timeout is the longest that anyone waits for it")
                    .fix(format!("at most {}", in_units(most)));
            }
            own.value
        };
        let timeouts = Timeouts {
            connect: tighten("connect", written.connect.as_ref(), upstream.timeouts.connect),
            read: tighten("read", written.read.as_ref(), upstream.timeouts.read),
            total: tighten("total", written.total.as_ref(), upstream.timeouts.total),
        };
        // What the route leaves out follows its own total.
        let total = timeouts.total;
        let own = [&written.connect, &written.read];
        if let Some(over) = own.into_iter().flatten().find(|own| own.value > total) {
            self.timeout_order(over.at, &named.path);
        }
        Timeouts {
            connect: timeouts.connect.min(total),
            read: timeouts.read.min(total),
            total,
        }
    }

    pub(super) fn rate_keys(&mut self, written: &RouteDocument) {
        let is_open = written.auth.value == "none";
        let has_body = takes_body(&written.method.value);
        for key in written
            .rates
            .iter()
            .filter_map(|rate| rate.value.as_ref())
            .flat_map(|rate| &rate.keys)
        {
            let (what, fix) = match &key.value {
                RateKey::Subject if is_open => ("a route for anyone has no subject", "count by `address`"),
                RateKey::Body(_) if !has_body => {
                    ("this method has no body", "count by `address` or `subject`")
                }
                RateKey::Address { .. } | RateKey::Subject | RateKey::Body(_) | RateKey::All => continue,
            };
            self.findings
                .error(code::KEY_NOT_AVAILABLE, key.at, what)
                .why("everyone would share one counter")
                .fix(fix);
        }
    }

    /// A body that a limit is keyed by is held in memory until the request is decided.
    pub(super) fn keyed_body(&mut self, written: &RouteDocument, most: &Limits) {
        let mut keys = written.rates.iter().filter_map(|rate| rate.value.as_ref());
        let of_body = |key: &&At<RateKey>| matches!(key.value, RateKey::Body(_));
        let Some(key) = keys.find_map(|rate| rate.keys.iter().find(of_body)) else {
            return;
        };
        if most.body > MOST_KEYED_BODY && takes_body(&written.method.value) {
            self.findings
                .error(
                    code::BODY_TOO_LARGE_TO_COUNT,
                    key.at,
                    "this route takes bodies that are too large to count by",
                )
                .why("the body is held in memory until the request is decided, at most 64KiB of it")
                .fix("add `limits: { body: 64KiB }` to the route, or less");
        }
    }

    /// What a request takes from the limits of the floor: more than their burst would never get through.
    pub(super) fn cost(&mut self, written: &RouteDocument, floor: Option<&FloorParts>) -> u64 {
        let Some(cost) = &written.cost else { return 1 };
        let limits = floor.iter().flat_map(|(floor, _)| &floor.rate);
        for limit in limits.filter(|limit| limit.burst < cost.value) {
            self.findings
                .error(
                    code::BAD_NUMBER,
                    cost.at,
                    format!(
                        "a request would take {} from `{}`, whose burst is {}",
                        cost.value, limit.name, limit.burst
                    ),
                )
                .why("this route would refuse everyone")
                .fix("a cost that fits into the burst of every limit of the floor");
        }
        cost.value
    }

    /// Limits that need only the address come before authentication, the others after it.
    pub(super) fn split_rates(
        &self,
        written: &RouteDocument,
        floor: Option<&FloorParts>,
    ) -> (Vec<Arc<RateLimit>>, Vec<Arc<RateLimit>>) {
        let (own, fine): (Vec<_>, Vec<_>) = self
            .rates(&written.rates)
            .into_iter()
            .partition(|limit| limit.is_by_address());
        let floor = floor.map(|(floor, _)| floor.rate.clone()).unwrap_or_default();
        (floor.into_iter().chain(own).collect(), fine)
    }
}
