//! For each fact: which direction is looser, how much that matters, and what it means in words.
//!
//! A new key gets a row here. Until it has one, its change is shown as medium, and a test fails.

use super::{Risk, judge::Judgement};
use crate::describe::{Kind, Value};
use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeSet,
};

/// What a change of one fact means: which definitions have it, its name, the risk when it is looser.
struct Row(&'static [Kind], &'static str, Risk, Meaning);

/// Words may hold `{old}`, `{new}`, `{words}` (those added or removed) and `{subject}` (the requests it is about).
enum Meaning {
    /// A higher number is looser: words for higher, and for lower.
    Number(&'static str, &'static str),
    /// More words are looser: words for those added, and for those removed.
    Permits(&'static str, &'static str),
    /// Fewer words are looser: words for those added, and for those removed.
    Demands(&'static str, &'static str),
    /// Words in their order, the loosest first: words for looser, and for tighter.
    Order(&'static [&'static str], &'static str, &'static str),
    /// Another value, without a direction.
    Other(&'static str),
}

use Kind::{
    Certificate, Cors, Floor, Headers, Hosts, Identity, Limit, Listener, Lockout, Route, Upstream, Waiver,
};
use Meaning::{Demands, Number, Order, Other, Permits};
use Risk::{Critical, High, Info, Low, Medium};

#[rustfmt::skip]
static ROWS: &[Row] = &[
    Row(&[Listener], "https.tls.min", High, Order(&["1.2", "1.3"],
        "clients may speak TLS {new}", "clients that cannot speak TLS {new} are refused")),
    Row(&[Listener], "https.tls.certificate", Medium, Other("clients are shown another certificate")),
    Row(&[Listener], "https.tls.more_certificates", Medium, Permits(
        "clients may be shown {words}, too", "clients are never shown {words}")),
    Row(&[Listener], "https.tls.client_authority", High, Other(
        "clients are asked for certificates of {new}, no longer of {old}")),
    Row(&[Listener], "trusted_proxies.client", High, Other(
        "the address of a client is taken from {new}, no longer from {old}")),
    Row(&[Certificate], "hosts", Medium, Other("the certificate must be for {new}")),
    Row(&[Certificate], "acme", Medium, Other("the certificate comes from another place")),
    Row(&[Hosts], "", Medium, Permits(
        "requests for {words} are answered", "requests for {words} are refused with 421")),
    Row(&[Upstream], "address", High, Other("requests go to {new}")),
    Row(&[Upstream], "also_at", High, Permits(
        "requests may go to {words} too", "requests go to {words} no more")),
    Row(&[Upstream], "tls.min", High, Order(&["none", "1.2", "1.3"],
        "TLS that may be spoken with the upstream: {new}", "TLS {new} at least is spoken with the upstream")),
    Row(&[Upstream], "tls.authority", Critical, Other("{new} vouches for the upstream, no longer {old}")),
    Row(&[Upstream], "tls.server_name", High, Other("who has a certificate for {new} may answer for the upstream")),
    Row(&[Upstream], "tls.certificate", Medium, Other("the gateway shows the upstream {new} instead of {old}")),
    Row(&[Upstream], "health", Low, Other("whether an address can serve is asked otherwise")),
    Row(&[Upstream], "eject", Low, Other("an address that fails requests is rested otherwise")),
    Row(&[Upstream], "retries", Medium, Other("requests that failed may be sent again: {new}")),
    Row(&[Upstream], "breaker", Low, Other("a service that fails every request is shut off: {new}")),
    Row(&[Upstream], "authorization", Medium, Order(&["forward", "strip"],
        "the upstream sees the tokens of clients", "the upstream sees no tokens any more")),
    Row(&[Upstream], "openapi", Low, Other("the document of the service is {new}, no longer {old}")),
    Row(&[Upstream, Route], "timeouts.connect", Medium, Number(
        "connecting to the upstream may take up to {new}",
        "an upstream that takes longer than {new} to connect is given up")),
    Row(&[Upstream, Route], "timeouts.read", Medium, Number(
        "a silent upstream is waited for up to {new}",
        "an upstream that is silent for longer than {new} is given up")),
    Row(&[Upstream, Route], "timeouts.total", Medium, Number(
        "an exchange may take up to {new}", "an exchange that takes longer than {new} is cut off")),
    Row(&[Identity], "issuer", Critical, Other("tokens of {new} are accepted, those of {old} no more")),
    Row(&[Identity], "audiences", High, Permits(
        "tokens made for {words} are accepted", "tokens made for {words} alone are refused")),
    Row(&[Identity], "clients", High, Other("tokens are accepted of the programs {new}, no longer of {old}")),
    Row(&[Identity], "algorithms", High, Permits(
        "signatures with {words} are accepted", "signatures with {words} are refused")),
    Row(&[Identity], "type", High, Other("tokens of type {new} are accepted, those of type {old} no more")),
    Row(&[Identity], "max_lifetime", Medium, Number(
        "a stolen token may be good for {new}", "tokens that live longer than {new} are refused")),
    Row(&[Identity], "leeway", Medium, Number(
        "an expired token is accepted for {new}",
        "tokens of a clock that is off by more than {new} are refused")),
    Row(&[Identity], "scopes_claim", High, Other("scopes are read from `{new}`, no longer from `{old}`")),
    Row(&[Identity], "require_jti", Medium, Order(&["false", "true"],
        "a token need not have an id by which it could be revoked", "a token without `jti` is refused")),
    Row(&[Identity], "require_cnf", High, Order(&["false", "true"],
        "a token is good for whoever has stolen it", "a token that is bound to no client certificate is refused")),
    Row(&[Waiver], "rule", Medium, Other("another rule is waived")),
    Row(&[Waiver], "at", Medium, Other("the exception is for {new}")),
    Row(&[Waiver], "until", Medium, Other("the exception lasts until {new}")),
    Row(&[Waiver], "because", Info, Other("the exception stays, for another reason")),
    Row(&[Identity], "keys", Critical, Other("signatures are checked with other keys")),
    Row(&[Identity], "keys.refresh", Low, Number(
        "a key that the issuer adds or withdraws is noticed after {new}", "the issuer is asked for keys every {new}")),
    Row(&[Identity], "keys.stale_for", Medium, Number(
        "keys that the issuer may have withdrawn count for {new}",
        "an issuer that cannot be reached for {new} opens nothing any more")),
    Row(&[Identity], "keys.addresses", High, Permits(
        "keys may come from {words}", "keys come from {words} no more")),
    Row(&[Headers], "remove", Medium, Demands(
        "answers carry {words} no more", "answers may carry {words} again")),
    Row(&[Cors], "methods", Medium, Permits("pages may use {words}", "pages may use {words} no more")),
    Row(&[Cors], "headers", Medium, Permits("pages may send {words}", "pages may send {words} no more")),
    Row(&[Cors], "expose", Medium, Permits("pages may read {words}", "pages may read {words} no more")),
    Row(&[Cors], "credentials", High, Order(&["true", "false"],
        "pages may send cookies and read what comes back", "pages may send no cookies any more")),
    Row(&[Cors], "max_age", Info, Other("browsers remember preflights for {new}")),
    Row(&[Floor, Route], "limits.head", Medium, Number(
        "heads of up to {new} are accepted", "heads above {new} are refused with 431")),
    Row(&[Floor, Route], "limits.headers", Medium, Number(
        "up to {new} header lines are accepted", "more than {new} header lines are refused with 431")),
    Row(&[Floor, Route], "limits.target", Medium, Number(
        "paths and queries of up to {new} are accepted", "paths and queries above {new} are refused with 414")),
    Row(&[Floor, Route], "limits.body", Medium, Number(
        "bodies of up to {new} are accepted", "bodies above {new} are refused with 413")),
    Row(&[Floor], "timeouts.head", Medium, Number(
        "a slow client may hold a connection for {new} with its head",
        "a client that needs longer than {new} for its head is cut off")),
    Row(&[Floor], "timeouts.body", Medium, Number(
        "a slow client may hold a connection for {new} with its body",
        "a client that needs longer than {new} for its body is cut off")),
    Row(&[Limit], "count_in", Medium, Order(&["gateway", "store"],
        "{subject}: each gateway counts on its own, so that all of them let through several times as many",
        "{subject}: all gateways count together")),
    Row(&[Limit], "mode", High, Order(&["shadow", "enforce"],
        "{subject}: what is over the limit is only told", "{subject}: what is over the limit is refused with 429")),
    Row(&[Lockout], "name.after", High, Number(
        "{new} guesses at a name are let through before it is locked", "a name is locked after {new} failures")),
    Row(&[Lockout], "name.steps", High, Other("a name is locked for {new}, no longer for {old}")),
    Row(&[Lockout], "name.decay", Medium, Other("failures are forgotten {new} after the last one, no longer after {old}")),
    Row(&[Lockout], "name_and_address.failures", High, Number(
        "one address may guess {new} times at one name", "one address is refused after {new} failures at one name")),
    Row(&[Lockout], "name_and_address.per", Medium, Other(
        "guesses of one address at one name are counted over {new}, no longer over {old}")),
    Row(&[Lockout], "device.after", Medium, Number(
        "a stolen device may guess {new} times", "a device is trusted no more after {new} failures")),
    Row(&[Lockout], "device.trusted_for", Medium, Number(
        "a device is trusted for {new} after it was last used", "a device that was not used for {new} is locked as any other")),
    Row(&[Lockout], "device.most", Low, Number(
        "a person may have {new} trusted devices", "of more than {new} devices, the one used least recently is trusted no more")),
    Row(&[Lockout], "total.untrusted", High, Number(
        "{new} guesses at a name are let through until its owner signs in", "a name is shut after {new} failures")),
    Row(&[Lockout], "total.trusted", Medium, Number(
        "trusted devices may guess {new} times until their owner signs in", "trusted devices are shut out after {new} failures")),
    Row(&[Lockout], "address.failures", High, Number(
        "one address may fail {new} times", "one address is blocked after {new} failures")),
    Row(&[Lockout], "address.names", High, Number(
        "one address may guess at {new} names", "one address is blocked after failures at {new} names")),
    Row(&[Lockout], "address.per", Medium, Other(
        "guesses of one address are counted over {new}, no longer over {old}")),
    Row(&[Lockout], "address.block", High, Other("an address is blocked for {new}, no longer for {old}")),
    Row(&[Route], "because", Info, Other("anyone may still come, for another reason")),
    Row(&[Route], "cost", Low, Other("{subject} takes {new} from each limit of the floor")),
    Row(&[Route], "scopes", High, Demands(
        "{subject} needs {words} too", "tokens without {words} may call {subject}")),
    Row(&[Route], "deprecated", Info, Other("clients of {subject} are told to leave it: {new}")),
    Row(&[Route], "sunset", Low, Other("clients of {subject} are told that it may be gone: {new}")),
    Row(&[Route], "openapi", Medium, Other("what requests of {subject} may hold: {new}, until now {old}")),
    Row(&[Route], "websocket", Medium, Other("sockets on {subject}: {new}")),
    Row(&[Route], "cache", High, Other("answers of {subject} are kept: {new}")),
    Row(&[Route], "compress", Medium, Other("answers of {subject} are compressed: {new}")),
    Row(&[Route], "revocations_within", Medium, Number(
        "a revoked token may still open {subject} for {new} when the control plane is silent",
        "{subject}: a control plane that is silent for {new} closes it")),
    Row(&[Route], "client_certificate.authority", Critical, Other(
        "client certificates of {new} open {subject}, those of {old} no more")),
    Row(&[Route], "client_certificate.names", High, Permits(
        "client certificates with {words} open {subject}", "client certificates with {words} alone are refused")),
    Row(&[Route], "serve", Medium, Other("{subject} is answered with something else")),
];

/// What it means that a fact has another value.
pub(super) fn judge(kind: Kind, name: &str, old: &Value, new: &Value, subject: &str) -> Judgement {
    let found = ROWS.iter().find(|row| row.0.contains(&kind) && row.1 == name);
    let Some(Row(_, _, risk, meaning)) = found else {
        return Judgement::new(Medium, "it has no direction that is known");
    };
    let (risk, words) = match meaning {
        Number(higher, _) if order(old, new) == Ordering::Less => (*risk, (*higher).to_owned()),
        Number(_, lower) => (Low, (*lower).to_owned()),
        Permits(added, removed) => words((*risk, added), (Low, removed), (old, new)),
        Demands(added, removed) => words((Low, added), (*risk, removed), (old, new)),
        Order(loosest_first, looser, tighter) => {
            let rank = |value: &Value| loosest_first.iter().position(|word| *word == value.to_string());
            if rank(new) > rank(old) {
                (Low, (*tighter).to_owned())
            } else {
                (*risk, (*looser).to_owned())
            }
        }
        Other(words) => (*risk, (*words).to_owned()),
    };
    let consequence = words
        .replace("{old}", &old.to_string())
        .replace("{new}", &new.to_string())
        .replace("{subject}", subject);
    Judgement { risk, consequence }
}

/// Compares two numbers of one kind.
fn order(old: &Value, new: &Value) -> Ordering {
    match (old, new) {
        (Value::Number(old), Value::Number(new)) | (Value::Size(old), Value::Size(new)) => old.cmp(new),
        (Value::Time(old), Value::Time(new)) => old.cmp(new),
        _ => Ordering::Equal,
    }
}

/// The words that only one of two sets has: added, then removed.
pub(super) fn difference(old: &Value, new: &Value) -> (Vec<String>, Vec<String>) {
    let none = BTreeSet::new();
    let (old, new) = match (old, new) {
        (Value::Set(old), Value::Set(new)) => (old, new),
        _ => (&none, &none),
    };
    (
        new.difference(old).cloned().collect(),
        old.difference(new).cloned().collect(),
    )
}

/// What it means that words are added or removed, the riskier first.
pub(super) fn words(
    added: (Risk, &str),
    removed: (Risk, &str),
    (old, new): (&Value, &Value),
) -> (Risk, String) {
    let (more, less) = difference(old, new);
    let mut said: Vec<(Risk, String)> = [(added, more), (removed, less)]
        .into_iter()
        .filter(|(_, words)| !words.is_empty())
        .map(|((risk, text), words)| (risk, text.replace("{words}", &words.join(", "))))
        .collect();
    said.sort_by_key(|(risk, _)| Reverse(*risk));
    let risk = said.first().map_or(Info, |(risk, _)| *risk);
    let texts: Vec<String> = said.into_iter().map(|(_, text)| text).collect();
    (risk, texts.join("; "))
}
