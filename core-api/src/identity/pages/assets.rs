//! The one style sheet, the one script and the icon of pages, each asked for with the hash of what is in it: browsers keep them
//! for good, and ask for a new one by another name.

use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::extract::RawQuery;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, header};
use problem::{Problem, catalogue};

use crate::extract::Path;

/// Letters of the hash: 96 bits.
const VERSION_CHARS: usize = 16;

/// How pages look.
pub(super) static STYLES: LazyLock<Asset> = LazyLock::new(|| {
    let content = include_str!("assets/account.css");
    Asset::new("account.css", "text/css; charset=utf-8", content)
});
/// Passkeys, and what is more comfortable with a script.
pub(super) static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let content = include_str!("assets/account.js");
    Asset::new("account.js", "text/javascript; charset=utf-8", content)
});
/// The icon in a browser's tab.
pub(super) static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")));

/// A file that pages ask for.
pub(super) struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
    version: String,
}

impl Asset {
    fn new(name: &'static str, content_type: &'static str, content: &'static str) -> Self {
        let hash = digest::digest(&digest::SHA256, content.as_bytes());
        let version = URL_SAFE_NO_PAD.encode(hash.as_ref());
        Self {
            name,
            content_type,
            content,
            version: version.chars().take(VERSION_CHARS).collect(),
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> String {
        format!("/account/assets/{}?v={}", self.name, self.version)
    }
}

/// One of the files; another version of it is nowhere.
pub(super) async fn show(Path(name): Path<String>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let version = query.as_deref().and_then(|query| query.strip_prefix("v="));
    let asset = [&*STYLES, &*SCRIPT, &*ICON]
        .into_iter()
        .find(|asset| asset.name == name && version == Some(&asset.version))
        .ok_or_else(|| Problem::new(catalogue::NOT_FOUND))?;
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
    ];
    Ok((fields, asset.content).into_response())
}
