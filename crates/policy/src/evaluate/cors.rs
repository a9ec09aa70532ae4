//! Cross-origin rules: preflights are answered before authentication and never reach an upstream.

use super::{DenialKind, Evaluation, Phase, RequestHead, Stop};
use crate::plan::{Cors, Route, Rule};
use http::{HeaderValue, header};

static RULE_NO_CORS: Rule = Rule::of_language("language: no cors, no other origin");

/// A preflight request (Fetch standard, CORS-preflight): OPTIONS with an origin and the method it asks about.
pub(super) struct Preflight<'r> {
    pub(super) method: &'r str,
    origin: &'r str,
}

impl<'r> Preflight<'r> {
    /// Whether a request is a preflight.
    pub(super) fn of(head: &RequestHead<'r>) -> Option<Self> {
        if head.method != "OPTIONS" {
            return None;
        }
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        Some(Self {
            method: text(header::ACCESS_CONTROL_REQUEST_METHOD)?,
            origin: text(header::ORIGIN)?,
        })
    }
}

impl Evaluation<'_> {
    /// Answers a preflight; notes for other requests whether their origin may read the answer.
    pub(super) fn cors(&mut self, route: &Route) -> Result<(), Stop> {
        let preflight = Preflight::of(self.head);
        if preflight.is_none() && route.websocket.is_some() {
            return self.websocket_origin(route);
        }
        let Some(cors) = &route.cors else {
            if preflight.is_some() {
                return Err(self.refuse_preflight(&RULE_NO_CORS, "this path is for no other origin"));
            }
            self.skip(Phase::Cors, &RULE_NO_CORS, "the route has no cors profile");
            return Ok(());
        };
        if let Some(preflight) = preflight {
            return Err(self.preflight(cors, &preflight));
        }
        let origin = self
            .head
            .headers
            .get(header::ORIGIN)
            .and_then(|origin| origin.to_str().ok());
        match origin {
            None => self.skip(Phase::Cors, &cors.rule, "no other origin"),
            Some(origin) if cors.allowed_origin(origin).is_some() => {
                self.pass(Phase::Cors, &cors.rule, "the origin may read the answer");
            }
            Some(_) => self.pass(Phase::Cors, &cors.rule, "the origin may not read the answer"),
        }
        Ok(())
    }

    /// Browsers let every page open WebSockets to every origin, and leave it to the server to look where it comes from
    /// (RFC 6455 §10.2).
    fn websocket_origin(&mut self, route: &Route) -> Result<(), Stop> {
        let rule = route.cors.as_ref().map_or(&RULE_NO_CORS, |cors| &cors.rule);
        let Some(origin) = self.head.headers.get(header::ORIGIN) else {
            self.skip(Phase::Cors, rule, "no browser");
            return Ok(());
        };
        let cors = route.cors.as_ref();
        let is_allowed = origin
            .to_str()
            .is_ok_and(|origin| cors.is_some_and(|cors| cors.allowed_origin(origin).is_some()));
        if !is_allowed {
            let detail = "a page of this origin may not open sockets here";
            return Err(self.refuse(DenialKind::CorsRefused, Phase::Cors, rule, detail));
        }
        self.pass(Phase::Cors, rule, "the origin may open sockets");
        Ok(())
    }

    fn preflight(&mut self, cors: &Cors, preflight: &Preflight<'_>) -> Stop {
        if cors.allowed_origin(preflight.origin).is_none() {
            return self.refuse_preflight(&cors.rule, "this origin is not allowed");
        }
        if !cors
            .methods
            .iter()
            .any(|method| method.as_str() == preflight.method)
        {
            return self.refuse_preflight(&cors.rule, "this method is not allowed from another origin");
        }
        let lines = self.head.headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS);
        let allows = |line: &HeaderValue| {
            line.to_str().is_ok_and(|line| {
                let mut names = line.split(',').map(str::trim).filter(|name| !name.is_empty());
                names.all(|name| {
                    cors.headers
                        .iter()
                        .any(|allowed| allowed.as_str().eq_ignore_ascii_case(name))
                })
            })
        };
        if !lines.iter().all(allows) {
            return self.refuse_preflight(&cors.rule, "a header is not allowed from another origin");
        }
        // Origin, credentials and exposed headers are on every answer: `Plan::response_headers`.
        let headers = vec![
            (header::ACCESS_CONTROL_ALLOW_METHODS, cors.allow_methods.clone()),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, cors.allow_headers.clone()),
            (header::ACCESS_CONTROL_MAX_AGE, cors.max_age.clone()),
        ];
        self.answer(204, Phase::Cors, &cors.rule, "preflight answered", headers)
    }

    fn refuse_preflight(&mut self, rule: &Rule, detail: &'static str) -> Stop {
        self.refuse(DenialKind::CorsRefused, Phase::Cors, rule, detail)
    }
}
