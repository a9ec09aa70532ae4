//! Swagger UI at `/docs` and the document at `/openapi.json`.
//!
//! The page is ours and has no inline script: it works under `script-src 'self'` without `unsafe-eval`. Styles need
//! `style-src 'self' 'unsafe-inline'`, images `img-src 'self' data:`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, header};
use problem::{Problem, catalogue};

use crate::extract::Path;

const PAGE: &str = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Portico API</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<noscript>These pages need JavaScript. The document itself is at <a href="/openapi.json">/openapi.json</a>.</noscript>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"##;

// `validatorUrl: null`: the page must not send the document to anybody.
const START: &str = r##"window.addEventListener("load", () => {
  window.ui = SwaggerUIBundle({
    url: "/openapi.json",
    dom_id: "#swagger-ui",
    deepLinking: true,
    displayRequestDuration: true,
    persistAuthorization: false,
    tryItOutEnabled: true,
    validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout"
  });
});
"##;

/// The document as it is served, rendered once.
#[derive(Debug, Clone)]
pub(crate) struct SharedDocument(Bytes);

impl SharedDocument {
    /// Renders a document.
    pub(crate) fn new(document: &utoipa::openapi::OpenApi) -> serde_json::Result<Self> {
        serde_json::to_vec(document).map(|json| Self(Bytes::from(json)))
    }
}

/// The pages. They are public: the document says nothing that a client must not know.
pub(crate) fn routes(document: SharedDocument) -> Router {
    Router::new()
        .route("/openapi.json", get(show_document))
        .route("/docs", get(async || content("text/html; charset=utf-8", PAGE)))
        .route("/docs/{file}", get(show_file))
        .with_state(document)
}

async fn show_document(State(document): State<SharedDocument>) -> Response {
    content("application/json", document.0)
}

/// The files of the page, by name; no other name reaches the archive.
async fn show_file(Path(file): Path<String>) -> Result<Response, Problem> {
    let content_type = match file.as_str() {
        "start.js" => return Ok(content("text/javascript; charset=utf-8", START)),
        "swagger-ui.css" => "text/css; charset=utf-8",
        "swagger-ui-bundle.js" => "text/javascript; charset=utf-8",
        "favicon-32x32.png" => "image/png",
        _ => return Err(Problem::new(catalogue::NOT_FOUND)),
    };
    let config = Arc::new(utoipa_swagger_ui::Config::from("/openapi.json"));
    match utoipa_swagger_ui::serve(&file, config) {
        Ok(Some(found)) => Ok(content(content_type, found.bytes.into_owned())),
        Ok(None) => Err(Problem::new(catalogue::NOT_FOUND)),
        Err(error) => Err(Problem::internal(error)),
    }
}

fn content(content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body.into()).into_response()
}
