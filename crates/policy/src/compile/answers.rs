//! What routes do with good answers: who may share one that is kept, and where nothing is compressed.

use super::{Compiler, waivers};
use crate::{
    diagnostic::code,
    document::{RouteDocument, TargetDocument},
    plan::{Cache, CacheKey, Compression, Route, RouteTarget},
    read::{At, Named},
};
use http::Method;
use std::sync::Arc;

impl Compiler<'_> {
    /// How the answers of a route are kept; reports a key that does not fit who may come.
    pub(super) fn cache(&mut self, named: &Named<RouteDocument>, written: &RouteDocument) -> Option<Cache> {
        let cache = written.answers.cache.as_ref()?;
        if self.has_answers(named, written, cache, "cache") {
            let is_for_anyone = written.auth.value == "none";
            let (path, name) = (&named.path, cache.value.key.as_str());
            match (cache.value.key, is_for_anyone) {
                (CacheKey::Public, false) => {
                    self.findings
                        .error(
                            code::WRONG_CACHE_KEY,
                            cache.at,
                            format!("{path}: `key: {name}` on a route that needs a token"),
                        )
                        .why("what was answered to one would be shown to all others")
                        .fix("`key: principal`")
                        .related(written.auth.at, "who may come");
                }
                (CacheKey::Principal, true) => {
                    self.findings
                        .error(
                            code::WRONG_CACHE_KEY,
                            cache.at,
                            format!("{path}: `key: {name}` on a route for anyone"),
                        )
                        .why("nobody is known there to keep an answer for")
                        .fix("`key: public`, if everyone may be given the same answer")
                        .related(written.auth.at, "who may come");
                }
                _ => {}
            }
        }
        Some(cache.value)
    }

    /// Which answers of a route are compressed; refuses it where answers hold secrets.
    pub(super) fn compression(
        &mut self,
        named: &Named<RouteDocument>,
        written: &RouteDocument,
    ) -> Option<Compression> {
        let compress = written.answers.compression.as_ref()?;
        let path = format!("{}.compress", named.path);
        if self.has_answers(named, written, compress, "compress")
            && (written.auth.value != "none" || written.client_certificate.is_some())
            && !waivers::covers(self.document, &mut self.used, code::COMPRESSES_SECRETS, &path)
        {
            self.findings
                .error(
                    code::COMPRESSES_SECRETS,
                    compress.at,
                    format!("{path} would compress what is for one client alone"),
                )
                .why("where an answer repeats a request beside a secret, its length gives the secret away (BREACH)")
                .fix("remove `compress`, or waive it with a reason and a last day")
                .related(written.auth.at, "who may come");
        }
        Some(compress.value.clone())
    }

    /// Only answers of an upstream to GET are touched.
    fn has_answers<T>(
        &mut self,
        named: &Named<RouteDocument>,
        written: &RouteDocument,
        key: &At<T>,
        name: &str,
    ) -> bool {
        let is_served = matches!(written.target.value, TargetDocument::Serve(_));
        let has_answers = written.method.value == Method::GET && !is_served && written.websocket.is_none();
        if !has_answers {
            self.findings
                .error(
                    code::NO_EFFECT,
                    key.at,
                    format!("{}: `{name}` has no effect here", named.path),
                )
                .why("it is about what an upstream answers to GET")
                .fix(format!("remove `{name}`"));
        }
        has_answers
    }

    /// An answer that nobody keeps cannot be given later.
    pub(super) fn stale_answers(&mut self, routes: &[Arc<Route>]) {
        if self.findings.len() > 0 {
            return;
        }
        for named in &self.document.upstreams {
            let Some(at) = named.value.as_ref().and_then(|written| written.stale_at) else {
                continue;
            };
            let is_kept = routes.iter().any(|route| {
                let leads_there = matches!(&route.target, RouteTarget::Upstream(upstream, _) if upstream.name == named.name);
                leads_there && route.cache.is_some()
            });
            if !is_kept {
                self.findings
                    .error(
                        code::NO_EFFECT,
                        at,
                        format!("no route to `{}` has a `cache`", named.name),
                    )
                    .why("nothing would be there to be given while the service is left alone")
                    .fix("remove `stale_for`, or add `cache` to a route");
            }
        }
    }
}
