//! `listeners`: where clients arrive.

use crate::{
    diagnostic::{Findings, Span, code},
    language,
    plan::{ClientSource, TlsVersion},
    read::{At, Field, Mapping},
};
use std::net::SocketAddr;

/// One listener as written.
#[derive(Debug, Clone)]
pub(crate) struct ListenerDocument {
    pub(crate) http: Option<At<SocketAddr>>,
    pub(crate) https: HttpsDocument,
    pub(crate) trusted_proxies: Option<TrustedProxiesDocument>,
}

/// Who announces clients.
#[derive(Debug, Clone)]
pub(crate) struct TrustedProxiesDocument {
    pub(crate) from: (Span, Vec<At<String>>),
    pub(crate) client: ClientSource,
}

/// Its HTTPS side.
#[derive(Debug, Clone)]
pub(crate) struct HttpsDocument {
    pub(crate) bind: At<SocketAddr>,
    pub(crate) tls: TlsDocument,
}

/// How its connections are protected.
#[derive(Debug, Clone)]
pub(crate) struct TlsDocument {
    pub(crate) min: TlsVersion,
    pub(crate) certificates: Vec<String>,
    pub(crate) client_authority: Option<String>,
}

impl ListenerDocument {
    /// Reads one listener.
    pub(crate) fn read(field: &Field<'_>, findings: &mut Findings) -> Option<Self> {
        let listener = Mapping::open(field, language::LISTENER, findings)?;
        let http = listener.optional("http").map(|field| http(&field, findings));
        let https = listener
            .key("https", findings)
            .and_then(|field| https(&field, findings));
        let trusted_proxies = listener
            .optional("trusted_proxies")
            .map(|field| trusted_proxies(&field, findings));
        Some(Self {
            http: http.map_or(Some(None), |http| http.map(Some))?,
            https: https?,
            trusted_proxies: trusted_proxies.map_or(Some(None), |proxies| proxies.map(Some))?,
        })
    }
}

fn trusted_proxies(field: &Field<'_>, findings: &mut Findings) -> Option<TrustedProxiesDocument> {
    let proxies = Mapping::open(field, language::TRUSTED_PROXIES, findings)?;
    let from = proxies.key("from", findings).and_then(|field| {
        let lists = field.list(findings, Field::text)?;
        Some((field.key_at, lists))
    });
    let choices = [
        ("proxy_protocol", ClientSource::ProxyProtocol),
        ("x_forwarded_for", ClientSource::ForwardedFor),
    ];
    let client = proxies
        .key("client", findings)
        .and_then(|field| field.choice(&choices, findings));
    Some(TrustedProxiesDocument {
        from: from?,
        client: client?.value,
    })
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
    Some(HttpsDocument {
        bind: bind?,
        tls: tls?,
    })
}

fn tls(field: &Field<'_>, findings: &mut Findings) -> Option<TlsDocument> {
    let tls = Mapping::open(field, language::TLS, findings)?;
    let min = min(&tls, findings);
    let certificates = certificates(&tls, findings);
    let client_authority = tls.optional("client_authority").map(|field| {
        let name = file_stem(
            &field,
            ("client authority", "NAME.ca.pem and NAME.crl.pem"),
            findings,
        );
        name.map(|name| name.value)
    });
    Some(TlsDocument {
        min: min?,
        certificates: certificates?,
        client_authority: client_authority.map_or(Some(None), |name| name.map(Some))?,
    })
}

/// Reads `min`.
pub(super) fn min(tls: &Mapping<'_>, findings: &mut Findings) -> Option<TlsVersion> {
    let choices = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
    let min = tls
        .key("min", findings)
        .and_then(|field| field.choice(&choices, findings))?;
    Some(min.value)
}

/// The name of a certificate with its key.
pub(super) fn certificate_name(field: &Field<'_>, findings: &mut Findings) -> Option<At<String>> {
    file_stem(field, ("certificate", "NAME.pem and NAME.key"), findings)
}

/// `certificate`, then `more_certificates`.
fn certificates(tls: &Mapping<'_>, findings: &mut Findings) -> Option<Vec<String>> {
    let first = tls
        .key("certificate", findings)
        .and_then(|field| certificate_name(&field, findings));
    let more = tls.optional("more_certificates").map(|field| {
        let names = field.list(findings, certificate_name)?;
        Some((field.key_at, names))
    });
    let first = first?;
    let (at, more) = more.unwrap_or(Some((first.at, Vec::new())))?;
    if more.iter().any(|name| name.value == first.value) {
        findings
            .error(
                code::BAD_LIST,
                at,
                format!("{}.more_certificates names `{}` again", tls.path, first.value),
            )
            .why("it is there once already")
            .fix("remove it from the list");
    }
    let all = std::iter::once(first).chain(more);
    Some(all.map(|name| name.value).collect())
}

/// A name that becomes the name of files, so it can hold neither a dot nor a slash.
pub(super) fn file_stem(
    field: &Field<'_>,
    (what, files): (&str, &str),
    findings: &mut Findings,
) -> Option<At<String>> {
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
    let means = files.replace("NAME", example);
    findings
        .error(
            code::BAD_TEXT,
            text.at,
            format!("`{}` is not the name of a {what}", text.value),
        )
        .why("these files are in one folder of the gateway, and the policy cannot lead to another")
        .fix(format!(
            "its name in that folder, without `/` and `.pem`: `{example}` means {means}"
        ));
    None
}
