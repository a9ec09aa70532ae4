//! The problem document as it stands on the wire, for serialisation and for the OpenAPI document.

use serde::Serialize;
use serde_json::{Map, Value};

/// An error answer (RFC 9457).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "axum", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "axum", schema(as = Problem))]
pub struct ProblemDocument {
    /// Identifies the problem type; what a client branches on.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "axum", schema(example = "urn:portico:problem:not-found"))]
    pub kind: String,
    /// The problem type in words, the same in every occurrence.
    #[cfg_attr(feature = "axum", schema(example = "There is no such resource"))]
    pub title: String,
    /// The HTTP status of the answer.
    #[cfg_attr(feature = "axum", schema(example = 404))]
    pub status: u16,
    /// What went wrong this time, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// `urn:request:<request id>`: quote it to support.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "axum",
        schema(example = "urn:request:019a9f6e-7c1f-7d3a-9d5b-0c2f6f0f3c11")
    )]
    pub instance: Option<String>,
    /// Every fault of the request body, each with its place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Members that some problem types add, such as `retry_after` in seconds.
    #[serde(flatten)]
    #[cfg_attr(feature = "axum", schema(additional_properties, value_type = Object))]
    pub members: Map<String, Value>,
}

/// One fault of a request body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "axum", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// Where: an RFC 6901 JSON pointer into the body; empty for the whole of it.
    #[cfg_attr(feature = "axum", schema(example = "/amount"))]
    pub pointer: String,
    /// A stable word for the rule that is broken.
    #[cfg_attr(feature = "axum", schema(example = "out_of_range"))]
    pub code: String,
    /// The rule in words.
    #[cfg_attr(
        feature = "axum",
        schema(example = "amount must be between 1 and 1000000000000000")
    )]
    pub detail: String,
    /// The numbers of the rule by name, such as `min`: for who says it in other words.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[cfg_attr(feature = "axum", schema(value_type = Object, required = false, example = json!({"min": 15})))]
    pub params: Map<String, Value>,
}

impl FieldError {
    /// A fault at a place: an RFC 6901 JSON pointer, a stable word, and the rule in words.
    #[must_use]
    pub fn new(pointer: impl Into<String>, code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            code: code.into(),
            detail: detail.into(),
            params: Map::new(),
        }
    }

    /// Adds a number of the rule.
    #[must_use]
    pub fn param(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }
}
