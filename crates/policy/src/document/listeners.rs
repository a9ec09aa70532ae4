//! `listeners`: where clients arrive.

use crate::{
    diagnostic::Findings,
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
        let listener = Mapping::open(field, &["http", "https"], findings)?;
        let http = listener.optional("http").map(|field| http(&field, findings));
        let https = listener
            .required(
                "https",
                "https: { bind: \"0.0.0.0:443\", tls: { min: \"1.2\", certificate: gateway } }",
                findings,
            )
            .and_then(|field| https(&field, findings));
        Some(Self {
            http: http.map_or(Some(None), |http| http.map(Some))?,
            https: https?,
        })
    }
}

fn http(field: &Field<'_>, findings: &mut Findings) -> Option<At<SocketAddr>> {
    let http = Mapping::open(field, &["bind", "redirect"], findings)?;
    let bind = http
        .required("bind", "bind: \"0.0.0.0:80\"", findings)
        .and_then(|field| field.socket_address(findings));
    let redirect = http
        .required("redirect", "redirect: https", findings)
        .and_then(|field| field.choice(&[("https", ())], findings));
    bind.filter(|_| redirect.is_some())
}

fn https(field: &Field<'_>, findings: &mut Findings) -> Option<HttpsDocument> {
    let https = Mapping::open(field, &["bind", "tls"], findings)?;
    let bind = https
        .required("bind", "bind: \"0.0.0.0:443\"", findings)
        .and_then(|field| field.socket_address(findings));
    let tls = https
        .required("tls", "tls: { min: \"1.2\", certificate: gateway }", findings)
        .and_then(|field| tls(&field, findings));
    let (tls_min, certificate) = tls?;
    Some(HttpsDocument {
        bind: bind?,
        tls_min,
        certificate,
    })
}

fn tls(field: &Field<'_>, findings: &mut Findings) -> Option<(TlsVersion, String)> {
    let tls = Mapping::open(field, &["min", "certificate"], findings)?;
    let min = tls.required("min", "min: \"1.2\"", findings).and_then(|field| {
        field.choice(
            &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)],
            findings,
        )
    });
    let certificate = tls
        .required("certificate", "certificate: gateway", findings)
        .and_then(|field| {
            // The name becomes a file name, so it can hold neither a dot nor a slash.
            field.word(
                "the name of a certificate",
                |byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte),
                findings,
            )
        });
    Some((min?.value, certificate?.value))
}
