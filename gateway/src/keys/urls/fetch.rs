//! One fetch of a JWK Set over HTTPS, bounded in every way, from where the policy allows (J35).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use keyring::MAX_JWKS_BYTES;
use policy::KeyUrl;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// From the look-up of the name to the last byte.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest answer head.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Fetches the document. No redirect is followed: where keys come from is written in the policy.
///
/// # Errors
/// What failed, for the log.
pub(super) async fn get(url: &KeyUrl, trust_file: &Path) -> anyhow::Result<Vec<u8>> {
    let fetched = timeout(PATIENCE, async {
        let stream = connect(url).await?;
        let stream = encrypt(stream, url, trust_file).await?;
        exchange(stream, url).await
    });
    fetched.await.context("no answer within 2 s")?
}

/// Connects to the addresses that were checked: a name is resolved once, so it cannot mean something else later.
async fn connect(url: &KeyUrl) -> anyhow::Result<TcpStream> {
    let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await;
    let found: Vec<SocketAddr> = found
        .with_context(|| format!("resolving {}", url.host))?
        .collect();
    let mut error = anyhow::anyhow!("{} has no address", url.host);
    for address in found {
        if !may_be_asked(address.ip(), url) {
            error = anyhow::anyhow!(
                "{} is at {}, which is not public and not in `addresses`",
                url.host,
                address.ip()
            );
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(failure) => error = anyhow::Error::new(failure).context(format!("connecting to {address}")),
        }
    }
    Err(error)
}

fn may_be_asked(address: IpAddr, url: &KeyUrl) -> bool {
    let address = address.to_canonical();
    is_public(address) || url.addresses.iter().any(|network| network.contains(&address))
}

/// Whether an address can be reached by everyone (IANA special-purpose registries): then nothing is behind it that only
/// this machine may ask.
const fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

const fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    !(first == 0
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || first >= 240
        // Shared (RFC 6598), protocol assignments (RFC 6890), benchmarks (RFC 2544), 6to4 relays (RFC 7526).
        || (first == 100 && second & 0xc0 == 64)
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && second & 0xfe == 18)
        || (first == 192 && second == 88 && third == 99))
}

/// Only global unicast, 2000::/3, without what carries an IPv4 address or is for documents (RFC 4291, RFC 3849).
const fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    first & 0xe000 == 0x2000
        && first != 0x2002
        && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        && !(first == 0x3fff && second < 0x1000)
}

async fn encrypt(stream: TcpStream, url: &KeyUrl, trust_file: &Path) -> anyhow::Result<TlsStream<TcpStream>> {
    let trusting = || format!("key_trust_file {}", trust_file.display());
    let mut roots = RootCertStore::empty();
    let pem = tokio::fs::read(trust_file).await.with_context(trusting)?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        // A bundle may hold roots that this library does not take; the others count.
        drop(roots.add(certificate.with_context(trusting)?));
    }
    if roots.is_empty() {
        bail!("{} holds no certificate", trusting());
    }
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(url.host.clone()).context("not a name for TLS")?;
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.context("TLS")
}

async fn exchange(stream: TlsStream<TcpStream>, url: &KeyUrl) -> anyhow::Result<Vec<u8>> {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await?;
    let host = match url.port {
        443 => url.host.clone(),
        port => format!("{}:{port}", url.host),
    };
    let request = Request::get(&url.target)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/jwk-set+json, application/json")
        .header(header::USER_AGENT, "portico")
        .body(Empty::<Bytes>::new())?;
    let answer = async { read(sender.send_request(request).await?).await };
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        closed = &mut connection => {
            closed?;
            // The connection may end in the same moment as the answer is complete.
            answer.await
        }
    }
}

async fn read(answer: Response<Incoming>) -> anyhow::Result<Vec<u8>> {
    if answer.status() != StatusCode::OK {
        bail!("the answer is {}", answer.status());
    }
    let media_type = answer.headers().get(header::CONTENT_TYPE);
    let media_type = media_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = media_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if essence != "application/json" && essence != "application/jwk-set+json" {
        bail!("the answer is no JSON");
    }
    let body = Limited::new(answer.into_body(), MAX_JWKS_BYTES).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("reading at most 64 KiB: {error}"))?;
    Ok(body.to_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j35_private_and_metadata_addresses_are_not_public() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "5f00::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.9.9.9",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn j35_a_private_address_is_asked_only_where_the_policy_says_so() {
        let url = |addresses: &[&str]| KeyUrl {
            host: "idp.example".to_owned(),
            port: 443,
            target: "/jwks.json".to_owned(),
            refresh: Duration::from_secs(300),
            stale_for: Duration::from_secs(3_600),
            addresses: addresses.iter().map(|network| network.parse().unwrap()).collect(),
        };
        let address = |text: &str| text.parse().unwrap();
        let inside = url(&["10.0.4.0/24"]);
        assert!(may_be_asked(address("10.0.4.17"), &inside));
        assert!(may_be_asked(address("::ffff:10.0.4.17"), &inside), "AD-4");
        assert!(may_be_asked(address("9.9.9.9"), &inside));
        for other in [
            "10.0.5.1",
            "127.0.0.1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
        ] {
            assert!(!may_be_asked(address(other), &inside), "{other}");
        }
        assert!(!may_be_asked(address("10.0.4.17"), &url(&[])));
    }
}
