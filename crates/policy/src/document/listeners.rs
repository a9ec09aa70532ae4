//! `listeners`: where clients arrive.

use crate::{
    diagnostic::{Findings, code},
    language,
    plan::TlsVersion,
    read::{At, Field, Mapping},
};
use std::net::SocketAddr;

/// One listener as written.
#[derive(Debug, Clone)]
pub(crate) struct ListenerDocument {
    pub(crate) http: Option<At<SocketAddr>>,
    pub(crate) https: HttpsDocument,
}

/// Its HTTPS side.
#[derive(Debug, Clone)]
pub(crate) struct HttpsDocument {
    pub(crate) bind: At<SocketAddr>,
    pub(crate) tls_min: TlsVersion,
    pub(crate) certificate: String,
}

impl ListenerDocument {
    /// Reads one listener.
    pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let listener = Mapping::open(field, language::LISTENER, findings)?;
        let http = listener.optional("http").map(|field| http(&field, findings));
        let https = listener
            .key("https", findings)
            .and_then(|field| https(&field, findings));
        Some(Self {
            http: http.map_or(Some(None), |http| http.map(Some))?,
            https: https?,
        })
    }
}

fn http(field: &Field<'_>, findings: &mut Findings) -> Option<At<SocketAddr>> {
    let http = Mapping::open(field, language::HTTP, findings)?;
    let bind = http
        .key("bind", findings)
        .and_then(|field| field.socket_address(findings));
    let redirect = http
        .key("redirect", findings)
        .and_then(|field| field.choice(&[("https", ())], findings));
    bind.filter(|_| redirect.is_some())
}

fn https(field: &Field<'_>, findings: &mut Findings) -> Option<HttpsDocument> {
    let https = Mapping::open(field, language::HTTPS, findings)?;
    let bind = https
        .key("bind", findings)
        .and_then(|field| field.socket_address(findings));
    let tls = https.key("tls", findings).and_then(|field| tls(&field, findings));
    let (tls_min, certificate) = tls?;
    Some(HttpsDocument {
        bind: bind?,
        tls_min,
        certificate,
    })
}

fn tls(field: &Field<'_>, findings: &mut Findings) -> Option<(TlsVersion, String)> {
    let tls = Mapping::open(field, language::TLS, findings)?;
    let min = tls.key("min", findings).and_then(|field| {
        field.choice(
            &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)],
            findings,
        )
    });
    let certificate = tls
        .key("certificate", findings)
        .and_then(|field| certificate(&field, findings));
    Some((min?.value, certificate?.value))
}

/// The name becomes that of two files, so it can hold neither a dot nor a slash.
fn certificate(field: &Field<'_>, findings: &mut Findings) -> Option<At<String>> {
    let text = field.text(findings)?;
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_short = (1..=64).contains(&text.value.len());
    if is_short && text.value.bytes().all(is_of_name) {
        return Some(text);
    }
    let name = text.value.rsplit('/').next().unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default();
    let example = Some(name)
        .filter(|name| !name.is_empty() && name.len() <= 64 && name.bytes().all(is_of_name))
        .unwrap_or("gateway");
    findings
        .error(
            code::BAD_TEXT,
            text.at,
            format!("`{}` is not the name of a certificate", text.value),
        )
        .why("certificates are in one folder of the gateway, and the policy cannot lead to another")
        .fix(format!(
            "its name in that folder, without `/` and `.pem`: `{example}` means {example}.pem and {example}.key"
        ));
    None
}
