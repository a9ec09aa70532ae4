//! How much a change opens, and what it means in words.

use super::{Risk, addresses, header_field, limits, pair::Pairs, references, requests, table};
use crate::describe::{Definition, Description, Fact, Kind, Value};
use std::net::SocketAddr;

/// Two bundles and what of them belongs together.
pub(super) struct Comparison<'d> {
    pub(super) old: &'d Description,
    pub(super) new: &'d Description,
    pub(super) pairs: &'d Pairs<'d>,
}

/// What a change means.
#[derive(Debug, Clone)]
pub(super) struct Judgement {
    pub(super) risk: Risk,
    pub(super) consequence: String,
}

impl Judgement {
    pub(super) fn new(risk: Risk, consequence: impl Into<String>) -> Self {
        Self {
            risk,
            consequence: consequence.into(),
        }
    }

    /// It is tighter, and hardly anything gets through any more: nobody must deploy that by mistake.
    pub(super) fn shut_out(&mut self) {
        self.risk = Risk::High;
        self.consequence = format!("HARDLY ANY REQUEST PASSES ANY MORE: {}", self.consequence);
    }
}

/// The same definition in both bundles.
pub(super) type Both<'d> = (&'d Definition, &'d Definition);

/// A fact as it was and as it is.
pub(super) type Either<'d> = (Option<&'d Fact>, Option<&'d Fact>);

const EVERY_REQUEST: &str = "every request";

impl Comparison<'_> {
    /// Another value of a fact, or one that only one side has.
    pub(super) fn fact(&self, definitions: Both<'_>, facts: Either<'_>) -> Judgement {
        let (_, after) = definitions;
        let subject = subject(self.new, after);
        let mut judgement = self.meaning(definitions, facts, &subject);
        let is_referred_to = matches!(
            after.kind,
            Kind::Addresses | Kind::Upstream | Kind::Identity | Kind::Headers | Kind::Cors
        );
        if is_referred_to && subject != EVERY_REQUEST {
            judgement.consequence = format!("{}, on {subject}", judgement.consequence);
        }
        judgement
    }

    /// What it means, in words that leave out for which requests, unless it is about a route or a limit.
    pub(super) fn meaning(
        &self,
        (before, after): Both<'_>,
        (old, new): Either<'_>,
        subject: &str,
    ) -> Judgement {
        let name = new.or(old).map_or("", |fact| fact.name.as_str());
        if let Some(field) = name.strip_prefix("set.").filter(|_| after.kind == Kind::Headers) {
            return header_field::judge(field, old.map(text), new.map(text));
        }
        let (Some(old), Some(new)) = (old, new) else {
            return match (name, new) {
                ("upstream", Some(new)) => {
                    Judgement::new(Risk::High, format!("{subject} goes to {}", new.value))
                }
                ("serve", Some(_)) => {
                    Judgement::new(Risk::Low, format!("the gateway answers {subject} by itself"))
                }
                ("upstream" | "serve", None) => {
                    Judgement::new(Risk::Info, "where it leads now is listed by itself")
                }
                ("client_certificate", Some(_)) => Judgement::new(
                    Risk::Critical,
                    format!("{subject} needs no client certificate any more"),
                ),
                ("client_certificate", None) => {
                    Judgement::new(Risk::Low, format!("{subject} needs a client certificate"))
                }
                ("client_certificate.authority" | "client_certificate.names", _) => {
                    Judgement::new(Risk::Info, "whether one is needed is listed by itself")
                }
                (_, Some(_)) => Judgement::new(Risk::Medium, "was not there"),
                (_, None) => Judgement::new(Risk::Medium, "is not there any more"),
            };
        };
        let (old, new) = (&old.value, &new.value);
        match (after.kind, name) {
            (Kind::Route, "match") => requests::another_match(self, before, after),
            (Kind::Route, "auth") => references::auth(self, (old, new), subject),
            (Kind::Route, "cors") => references::cors(self, (old, new), subject),
            (Kind::Route | Kind::Floor, "headers") | (Kind::Route, "upstream") => {
                references::other(self, (old, new), subject)
            }
            (Kind::Floor, "deny_from") => addresses::denied(self, (old, new)),
            (Kind::Listener, "trusted_proxies.from") => addresses::trusted(self, (old, new)),
            (Kind::Route, "allow_from") => addresses::allowed(self, (old, new), subject),
            (Kind::Addresses, _) => addresses::list(self, after, (old, new)),
            (Kind::Listener, "https.bind") | (Kind::Clear, "bind") => bind(old, new),
            (Kind::Limit, "limit") => limits::pace(after, (old, new), subject),
            (Kind::Limit, "burst") => limits::burst(after, (old, new), subject),
            (Kind::Limit, "key") => limits::counted_by(old, new, subject),
            (Kind::Limit, "on_store_down") => limits::without_store(old, new, subject),
            (Kind::Cors, "origins") => origins(old, new),
            (Kind::Limit, "count") => limits::counted(new, subject),
            (kind, name) => {
                let mut judgement = table::judge(kind, name, old, new, subject);
                if limits::shuts_out(name, (old, new)) {
                    judgement.shut_out();
                }
                judgement
            }
        }
    }

    /// Whether a part belongs to another definition than before.
    pub(super) fn is_moved(&self, before: &Definition, after: &Definition) -> bool {
        match (&before.owner, &after.owner) {
            (Some(old), Some(new)) => !self
                .pairs
                .are_equal(&Value::Reference(old.clone()), &Value::Reference(new.clone())),
            _ => false,
        }
    }

    /// The same definition under another name.
    pub(super) fn renamed(&self, before: &Definition, after: &Definition) -> Judgement {
        let subject = subject(self.new, after);
        match after.kind {
            Kind::Limit if self.is_moved(before, after) => {
                let risk = if after.owner.as_deref() == Some("floor") {
                    Risk::Low
                } else {
                    Risk::High
                };
                let old = self::subject(self.old, before);
                Judgement::new(risk, format!("it counts {subject}, and no longer {old}"))
            }
            Kind::Limit => Judgement::new(Risk::Info, "another name: its counters begin anew"),
            Kind::Route => Judgement::new(Risk::Info, format!("another name for {subject}")),
            _ => Judgement::new(Risk::Info, "another name, the same content"),
        }
    }

    pub(super) fn removed(&self, gone: &Definition) -> Judgement {
        let subject = subject(self.old, gone);
        match gone.kind {
            Kind::Route => requests::removed(self, gone),
            Kind::Limit if gone.text("count") == "failures" => Judgement::new(
                Risk::Critical,
                format!("guessing at {subject} is no longer slowed down by it"),
            ),
            Kind::Limit => Judgement::new(
                Risk::High,
                format!("{subject}: no longer limited to {}", summary(gone)),
            ),
            Kind::Listener | Kind::Clear => Judgement::new(
                Risk::Low,
                format!("nothing listens on {} any more", summary(gone)),
            ),
            Kind::Lockout => Judgement::new(
                Risk::Medium,
                "guesses at passwords are refused as Portico ships it, no longer as written",
            ),
            Kind::Waiver => Judgement::new(Risk::Low, format!("the exception is over: {}", summary(gone))),
            _ => Judgement::new(Risk::Info, "what referred to it is listed by itself"),
        }
    }

    pub(super) fn added(&self, fresh: &Definition) -> Judgement {
        let subject = subject(self.new, fresh);
        match fresh.kind {
            Kind::Route => requests::added(self, fresh),
            Kind::Limit => Judgement::new(
                Risk::Low,
                format!("{subject}: more than {} is refused with 429", summary(fresh)),
            ),
            Kind::Listener => Judgement::new(
                Risk::Medium,
                format!("clients may also come to {}", summary(fresh)),
            ),
            Kind::Clear => Judgement::new(
                Risk::Medium,
                format!("requests in clear to {} are answered with 308", summary(fresh)),
            ),
            Kind::Identity => Judgement::new(
                Risk::Medium,
                format!("tokens of {} are accepted, on {subject}", summary(fresh)),
            ),
            Kind::Upstream => Judgement::new(
                Risk::Medium,
                format!("requests may go to {}, from {subject}", summary(fresh)),
            ),
            Kind::Waiver => Judgement::new(
                Risk::Medium,
                format!("an exception until {}: {}", fresh.text("until"), summary(fresh)),
            ),
            _ => Judgement::new(Risk::Info, format!("for {subject}")),
        }
    }
}

/// A definition in a few words.
pub(super) fn summary(definition: &Definition) -> String {
    let text = |name: &str| definition.text(name);
    match definition.kind {
        Kind::Listener => text("https.bind"),
        Kind::Clear => text("bind"),
        Kind::Addresses => text(""),
        Kind::Upstream => text("address"),
        Kind::Identity => text("issuer"),
        Kind::Cors => text("origins"),
        Kind::Limit => format!("{} {} by {}", text("limit"), text("count"), text("key")),
        Kind::Route => format!("{}, auth {}", text("match"), text("auth")),
        Kind::Waiver => format!("{} at {}", text("rule"), text("at")),
        Kind::Certificate => text("hosts"),
        Kind::Headers | Kind::Hosts | Kind::Floor | Kind::Lockout => definition.name().to_owned(),
    }
}

/// The requests that a definition is about.
pub(super) fn subject(description: &Description, definition: &Definition) -> String {
    match definition.kind {
        Kind::Route => definition.text("match"),
        Kind::Limit => definition
            .owner
            .as_deref()
            .and_then(|owner| description.find(owner))
            .filter(|owner| owner.kind == Kind::Route)
            .map_or_else(|| EVERY_REQUEST.to_owned(), |route| route.text("match")),
        Kind::Listener | Kind::Clear | Kind::Certificate | Kind::Hosts | Kind::Floor => {
            EVERY_REQUEST.to_owned()
        }
        Kind::Lockout => "every log-in".to_owned(),
        Kind::Waiver => definition.text("at"),
        Kind::Addresses | Kind::Upstream | Kind::Identity | Kind::Headers | Kind::Cors => {
            let users = description.users(&definition.key);
            let (floor, routes): (Vec<_>, Vec<_>) = users.partition(|user| user.kind == Kind::Floor);
            match (floor.is_empty(), routes.as_slice()) {
                (false, _) if definition.kind == Kind::Addresses => EVERY_REQUEST.to_owned(),
                (true, [one]) => one.text("match"),
                (true, many) => format!("{} routes", many.len()),
                (false, many) => format!("{} routes and answers without a route", many.len()),
            }
        }
    }
}

fn text(fact: &Fact) -> String {
    fact.value.to_string()
}

/// Who can connect: this machine, one of its networks, all of them.
fn bind(old: &Value, new: &Value) -> Judgement {
    let reach = |value: &Value| {
        value.to_string().parse::<SocketAddr>().map_or(2_u8, |address| {
            let ip = address.ip().to_canonical();
            if ip.is_loopback() {
                0
            } else if ip.is_unspecified() {
                2
            } else {
                1
            }
        })
    };
    match reach(new).cmp(&reach(old)) {
        std::cmp::Ordering::Greater => {
            Judgement::new(Risk::High, format!("more machines can connect, to {new}"))
        }
        std::cmp::Ordering::Less => {
            Judgement::new(Risk::Low, format!("fewer machines can connect, to {new}"))
        }
        std::cmp::Ordering::Equal => Judgement::new(Risk::Info, format!("clients come to {new}")),
    }
}

/// Other origins: `*` is all of them.
fn origins(old: &Value, new: &Value) -> Judgement {
    let is_any = |value: &Value| value.to_string() == "*";
    if is_any(new) {
        return Judgement::new(Risk::High, "pages of any origin may read answers");
    }
    if is_any(old) {
        return Judgement::new(Risk::Low, format!("only pages of {new} may read answers"));
    }
    let (risk, words) = table::words(
        (Risk::High, "pages of {words} may read answers"),
        (Risk::Low, "pages of {words} may read answers no more"),
        (old, new),
    );
    Judgement::new(risk, words)
}
