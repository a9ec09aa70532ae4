//! `rate`: named limits, in the floor and in routes.

use crate::{
    diagnostic::{Findings, code},
    language,
    plan::{Count, CountIn, Mode, OnStoreDown, RateKey},
    read::{At, Field, Mapping, Named, Rate},
};

/// One limit as written.
#[derive(Debug, Clone)]
pub(crate) struct RateDocument {
    pub(crate) rate: At<Rate>,
    pub(crate) burst: At<u64>,
    pub(crate) keys: Vec<At<RateKey>>,
    pub(crate) count: Count,
    pub(crate) count_in: CountIn,
    pub(crate) mode: Mode,
}

/// Most limits in one place.
const MOST_LIMITS: usize = 16;

/// Reads a `rate` mapping.
pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Vec<Named<RateDocument>> {
    let limits = field.named(findings);
    if limits.len() > MOST_LIMITS {
        findings
            .error(
                code::BAD_LIST,
                field.key_at,
                format!("{} has more than {MOST_LIMITS} limits", field.path),
            )
            .why("every request would be counted by all of them")
            .fix("keep those that would be reached first");
    }
    limits
        .into_iter()
        .map(|(name, field)| {
            let value = RateDocument::read(&field, findings);
            Named {
                name,
                at: field.key_at,
                path: field.path,
                value,
            }
        })
        .collect()
}

impl RateDocument {
    fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let limit = Mapping::open(field, language::RATE, findings)?;
        let rate = limit
            .key("limit", findings)
            .and_then(|field| field.rate(findings));
        let burst = limit
            .key("burst", findings)
            .and_then(|field| field.number(1..=language::MOST_BURST, findings));
        let keys = limit
            .key("key", findings)
            .and_then(|field| field.list(findings, key));
        alone(keys.as_deref().unwrap_or_default(), findings)?;
        let count = limit.optional("count").map_or(Some(Count::Requests), |field| {
            let choices = [("requests", Count::Requests), ("failures", Count::Failures)];
            field.choice(&choices, findings).map(|count| count.value)
        });
        let mode = limit.optional("mode").map_or(Some(Mode::Enforce), |field| {
            let choices = [("enforce", Mode::Enforce), ("shadow", Mode::Shadow)];
            field.choice(&choices, findings).map(|mode| mode.value)
        });
        let (rate, burst) = (rate?, burst?);
        let count_in = count_in(&limit, findings)?;
        if count_in != CountIn::Gateway && takes_a_century(rate.value, burst.value) {
            findings
                .error(
                    code::BAD_NUMBER,
                    burst.at,
                    format!("a burst of {} comes back in more than 100 years", burst.value),
                )
                .why("the store counts in microseconds, and cannot tell such times exactly")
                .fix("a burst that this pace can fill again");
            return None;
        }
        Some(Self {
            rate,
            burst,
            keys: keys?,
            count: count?,
            count_in,
            mode: mode?,
        })
    }
}

/// Beside `all`, other parts would count apart what it counts together.
fn alone(keys: &[At<RateKey>], findings: &mut Findings) -> Option<()> {
    let Some(all) = keys
        .iter()
        .find(|key| key.value == RateKey::All)
        .filter(|_| keys.len() > 1)
    else {
        return Some(());
    };
    findings
        .error(code::BAD_RATE_KEY, all.at, "`all` stands alone in a key")
        .why("with it everybody shares one counter, and with anything else they do not")
        .fix("`key: [all]`, or leave `all` out");
    None
}

fn takes_a_century(rate: Rate, burst: u64) -> bool {
    const CENTURY_NS: u128 = 100 * 365 * 86_400 * 1_000_000_000;
    rate.period.as_nanos().saturating_mul(u128::from(burst))
        > CENTURY_NS.saturating_mul(u128::from(rate.limit))
}

/// `count_in` and `on_store_down`: what happens without the store is written wherever there is one.
fn count_in(limit: &Mapping<'_>, findings: &mut Findings) -> Option<CountIn> {
    let place = limit.optional("count_in").map_or(Some(false), |field| {
        let choices = [("gateway", false), ("store", true)];
        field.choice(&choices, findings).map(|place| place.value)
    });
    let down = limit.optional("on_store_down");
    match (place?, down) {
        (false, None) => Some(CountIn::Gateway),
        (false, Some(field)) => {
            findings
                .error(
                    code::NO_EFFECT,
                    field.key_at,
                    format!("{} has no effect without `count_in: store`", field.path),
                )
                .why("this limit needs no store")
                .fix("leave it out, or count in the store");
            None
        }
        (true, None) => {
            findings
                .error(
                    code::MISSING_KEY,
                    limit.at,
                    format!("{} does not say what happens without the store: `on_store_down` is missing", limit.path),
                )
                .why("a store can be down, and then the limit refuses everyone, nobody, or what one gateway can see")
                .fix("`on_store_down: deny` for log-in and money, `local` for the rest");
            None
        }
        (true, Some(field)) => {
            let choices =
                [OnStoreDown::Local, OnStoreDown::Deny, OnStoreDown::Allow].map(|down| (down.as_str(), down));
            let down = field.choice(&choices, findings)?;
            Some(CountIn::Store(down.value))
        }
    }
}

/// `address/48`. A site gets at most a /32 and a customer line at least a /64: beyond that it is no limit.
fn ipv6_prefix(text: &str) -> Option<RateKey> {
    let bits = text.strip_prefix("address/")?;
    let ipv6_prefix = bits.parse().ok().filter(|bits| (32..=64).contains(bits))?;
    (bits == format!("{ipv6_prefix}")).then_some(RateKey::Address { ipv6_prefix })
}

fn key(field: &Field<'_>, findings: &mut Findings) -> Option<At<RateKey>> {
    let text = field.text(findings)?;
    let key = match text.value.as_str() {
        "address" => Some(RateKey::Address { ipv6_prefix: 64 }),
        "subject" => Some(RateKey::Subject),
        "all" => Some(RateKey::All),
        other if other.starts_with("address/") => ipv6_prefix(other),
        other => other
            .strip_prefix("body.")
            .filter(|pointer| pointer.len() <= 128 && is_pointer(pointer))
            .map(|pointer| RateKey::Body(pointer.to_owned())),
    };
    if key.is_none() {
        let fix = match crate::suggest::nearest(&text.value, ["address", "subject", "all"]) {
            Some(near) if !text.value.contains('/') => format!("did you mean `{near}`?"),
            _ => "`address`, `address/32` to `address/64`, `subject`, `body.` and a JSON pointer as `body./email`, or `all`".to_owned(),
        };
        findings
            .error(
                code::BAD_RATE_KEY,
                text.at,
                format!("`{}` cannot be counted by", text.value),
            )
            .why("everyone would share one counter, or have none")
            .fix(fix);
    }
    key.map(|value| At { value, at: text.at })
}

/// A JSON pointer (RFC 6901 §3) to a member with a name.
fn is_pointer(pointer: &str) -> bool {
    let is_escaped = |part: &str| part.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    pointer
        .strip_prefix('/')
        .is_some_and(|rest| rest.split('/').all(|part| !part.is_empty() && is_escaped(part)))
}
