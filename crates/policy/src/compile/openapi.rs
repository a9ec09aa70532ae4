//! OpenAPI documents: read once for each upstream that names one, and asked for the operation of each of its routes.

use super::{
    Compiler, OVERLAYS,
    tighten::{MOST_KEYED_BODY, takes_body},
};
use crate::{
    SourceFile,
    diagnostic::{Span, code},
    document::TargetDocument,
    openapi::{ApiDocument, Wanted},
    plan::{Route, RouteTarget},
    read::{At, Named},
};
use std::{collections::BTreeMap, sync::Arc};

/// Whether a file of the bundle is a document, and no policy. What stands beside the overlays is neither.
pub(super) fn is_document(name: &str) -> bool {
    SourceFile::is_api_document(name) && !name.starts_with(OVERLAYS)
}

impl<'d> Compiler<'d> {
    /// The routes, each with what its requests may hold.
    pub(super) fn described(&mut self, routes: Vec<Arc<Route>>) -> Vec<Arc<Route>> {
        let mut documents = self.api_documents();
        // A slip elsewhere may be why a route is not described, or a document not named.
        if self.findings.len() > 0 {
            return routes;
        }
        self.unused_documents();
        routes
            .into_iter()
            .map(|route| self.with_operation(route, &mut documents))
            .collect()
    }

    /// The documents that can be read, by upstream.
    fn api_documents(&mut self) -> BTreeMap<&'d str, (ApiDocument<'d>, Span)> {
        let mut documents = BTreeMap::new();
        for named in &self.document.upstreams {
            let written = named
                .value
                .as_ref()
                .and_then(|upstream| upstream.openapi.as_ref());
            let Some(written) = written else { continue };
            if let Some(document) = self.api_document(written) {
                documents.insert(named.name.as_str(), (document, written.at));
            }
        }
        documents
    }

    fn api_document(&mut self, written: &'d At<String>) -> Option<ApiDocument<'d>> {
        let files = self.files;
        let found = files
            .iter()
            .enumerate()
            .find(|(_, file)| file.name == written.value);
        let Some((index, file)) = found else {
            let names: Vec<&str> = files
                .iter()
                .map(|file| file.name.as_str())
                .filter(|name| is_document(name))
                .collect();
            let fix = if names.is_empty() {
                "put the document into the policy folder".to_owned()
            } else {
                self.findings.suggest(&written.value, names.into_iter())
            };
            self.findings
                .error(
                    code::UNDEFINED_NAME,
                    written.at,
                    format!("the policy folder has no file `{}`", written.value),
                )
                .why("no request could be checked")
                .fix(fix);
            return None;
        };
        // What is not even text has been told.
        if file.refusal.is_some() || file.text.len() > SourceFile::most_bytes(&file.name) {
            return None;
        }
        ApiDocument::read(index, file, &mut self.findings)
    }

    /// Documents that nobody names.
    fn unused_documents(&mut self) {
        let document = self.document;
        let is_named = |name: &str| {
            let mut upstreams = document.upstreams.iter().filter_map(|named| named.value.as_ref());
            upstreams.any(|upstream| upstream.openapi.as_ref().is_some_and(|at| at.value == name))
        };
        for (index, file) in self.files.iter().enumerate() {
            if is_document(&file.name) && !is_named(&file.name) {
                let at = Span {
                    file: index,
                    line: 1,
                    column: 1,
                    length: 1,
                };
                self.findings
                    .error(code::UNUSED, at, "no upstream names this OpenAPI document")
                    .why("it looks like protection and has no effect")
                    .fix("name it in `openapi` of an upstream, or remove it");
            }
        }
    }

    fn with_operation(
        &mut self,
        mut route: Arc<Route>,
        documents: &mut BTreeMap<&'d str, (ApiDocument<'d>, Span)>,
    ) -> Arc<Route> {
        let Some(named) = self.document.routes.named(&route.name) else {
            return route;
        };
        let Some(written) = &named.value else { return route };
        let upstream = match (&route.target, &written.target.value) {
            (RouteTarget::Upstream(upstream, _), TargetDocument::Upstream(_)) => Some(Arc::clone(upstream)),
            _ => None,
        };
        let document = upstream.as_ref().and_then(|upstream| upstream.openapi.as_ref());
        match (document, written.no_openapi) {
            (None, Some(at)) => self.nothing_to_check(named, at),
            (Some(_), None) => {
                let Some((document, document_at)) = upstream
                    .as_ref()
                    .and_then(|upstream| documents.get_mut(upstream.name.as_str()))
                else {
                    return route;
                };
                let upstream = upstream.as_ref().map_or("", |upstream| upstream.name.as_str());
                let wanted = Wanted {
                    method: &route.method,
                    path: &route.path,
                    at: written.path.at,
                    rule: self.rule(*document_at, &format!("upstreams.{upstream}.openapi")),
                };
                let operation = document.operation(&wanted, &mut self.findings);
                self.checked_body(
                    &route,
                    written.limits.body.as_ref().map_or(named.at, |body| body.at),
                );
                if let (Some(route), Some(operation)) = (Arc::get_mut(&mut route), operation) {
                    route.operation = Some(Arc::new(operation));
                }
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        route
    }

    fn nothing_to_check<T>(&mut self, named: &Named<T>, at: Span) {
        self.findings
            .error(
                code::NO_EFFECT,
                at,
                format!("{} leads to no upstream with an OpenAPI document", named.path),
            )
            .why("its requests are not checked in any case")
            .fix("remove `openapi`");
    }

    fn checked_body(&mut self, route: &Route, at: Span) {
        if takes_body(&route.method) && route.limits.body > MOST_KEYED_BODY {
            self.findings
                .error(
                    code::BODY_TOO_LARGE_TO_CHECK,
                    at,
                    format!("routes.{} takes bodies that are too large to check", route.name),
                )
                .why("the body is held in memory until the request is decided, at most 64KiB of it")
                .fix("add `limits: { body: 64KiB }` to the route, or less");
        }
    }
}
