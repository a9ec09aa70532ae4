//! Problems as axum responses.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use crate::{CONTENT_TYPE, Problem};

impl IntoResponse for Problem {
    /// Renders the document without `instance`, and leaves the problem in the response's extensions, so that the
    /// layer that knows the request id can render it again.
    fn into_response(self) -> Response {
        let mut response = (self.status(), self.to_json(None)).into_response();
        response.headers_mut().extend(self.headers().clone());
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        response.extensions_mut().insert(self);
        response
    }
}
