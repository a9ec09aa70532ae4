//! What all candidates share: a certificate, keys and tokens, an upstream, and a directory.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyring::{Algorithm, KeySet, KeyState, PublicKey, SigningKey};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use serde_json::json;
use service_runtime::clock::Clock;

use crate::process::Process;

/// Tokens that repeat, as those of real clients do.
const REPEATING: u32 = 64;
/// Who the client with a certificate is.
pub(crate) const CLIENT: &str = "spiffe://bank.example/bench";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Tokens live for an hour: longer than a bench.
const LIFETIME_S: i64 = 3_600;

/// What wrk leaves out of its table.
const LATENCY: &str = "function done(summary, latency, requests)
  io.write(string.format('p99.9 %dus\\n', latency:percentile(99.9)))
end
";

/// The directory of one bench, and the ports of its upstream.
#[derive(Debug)]
pub(crate) struct Site {
    directory: tempfile::TempDir,
    pub(crate) upstream_port: u16,
    pub(crate) upstream_tls_port: u16,
}

impl Site {
    /// Makes certificates, keys, tokens and the scripts that send them.
    pub(crate) fn make(tokens: u32) -> anyhow::Result<Self> {
        let site = Self {
            directory: tempfile::tempdir()?,
            upstream_port: free_port()?,
            upstream_tls_port: free_port()?,
        };
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        site.write("tls/gateway.pem", &certificate)?;
        site.write("tls/gateway.key", &key)?;
        site.write("both.pem", &format!("{certificate}{key}"))?;
        site.write_issued()?;
        let [es256, eddsa] = [Algorithm::ES256, Algorithm::EdDSA].map(SigningKey::generate);
        let (es256, eddsa) = (es256?, eddsa?);
        site.write("keys/bench.jwks.json", &key_set(&[&es256, &eddsa]))?;
        site.write("public.pem", &public_pem(&es256))?;
        site.write(
            "open.lua",
            &format!("wrk.headers['Accept'] = 'application/json'\n{LATENCY}"),
        )?;
        site.write(
            "packed.lua",
            &format!("wrk.headers['Accept-Encoding'] = 'gzip'\n{LATENCY}"),
        )?;
        site.write("transfer.lua", &post("1200"))?;
        site.write("malformed.lua", &post("-1200"))?;
        site.write("big.json", &big())?;
        for (name, signer, count) in [
            ("repeating", &es256, REPEATING),
            ("new", &es256, tokens),
            ("new-eddsa", &eddsa, tokens),
        ] {
            let list = site.path(&format!("{name}.tokens"));
            fs::write(&list, signed(signer, count)?)?;
            site.write(&format!("{name}.lua"), &script(&list))?;
        }
        Ok(site)
    }

    /// An authority, which the gateway believes about the service behind and about clients; a certificate for either, and
    /// a list that revokes none.
    fn write_issued(&self) -> anyhow::Result<()> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Bench CA");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        self.write("tls/upstream.ca.pem", &authority.pem())?;
        self.write("tls/clients.ca.pem", &authority.pem())?;

        let upstream = CertificateParams::new(vec!["localhost".to_owned()])?;
        let mut client = CertificateParams::new(Vec::<String>::new())?;
        client.subject_alt_names = vec![SanType::URI(CLIENT.try_into()?)];
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        for (name, params) in [("upstream", upstream), ("client", client)] {
            let key = KeyPair::generate()?;
            self.write(&format!("{name}.pem"), &params.signed_by(&key, &authority)?.pem())?;
            self.write(&format!("{name}.key"), &key.serialize_pem())?;
        }

        let now = Clock::system().now();
        let list = CertificateRevocationListParams {
            this_update: SystemTime::from(now - DAY).into(),
            next_update: SystemTime::from(now + DAY).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("tls/clients.crl.pem", &list.signed_by(&authority)?.pem()?)?;
        Ok(())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        let folder = path.parent().unwrap_or_else(|| Path::new("/"));
        fs::create_dir_all(folder)?;
        fs::write(&path, text)?;
        Ok(path)
    }

    /// nginx with one small JSON answer and one of 16 KiB, in clear and over TLS, without a log.
    pub(crate) fn upstream(&self) -> anyhow::Result<Process> {
        let text = format!(
            "daemon off; pid {0}/upstream.pid; worker_processes 1; error_log stderr error;
events {{ worker_connections 2048; }}
http {{ access_log off; keepalive_requests 1000000; default_type application/json;
  server {{ listen 127.0.0.1:{1}; listen 127.0.0.1:{2} ssl;
    ssl_certificate {0}/upstream.pem; ssl_certificate_key {0}/upstream.key; ssl_protocols TLSv1.3;
    location ~ ^/(big|packed)$ {{ alias {0}/big.json; }}
    location / {{ return 200 '{{\"id\":\"acc_1\",\"balance\":1200,\"currency\":\"EUR\"}}'; }} }}
}}
",
            self.directory.path().display(),
            self.upstream_port,
            self.upstream_tls_port
        );
        let file = self.write("upstream.conf", &text)?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(self.directory.path()).arg("-c").arg(file);
        Process::start(&mut command, self.upstream_port, &self.path("upstream.log"))
            .context("nginx, the upstream (Debian: nginx-light)")
    }
}

/// A page of entries, about 16 KiB, as compressible as such are.
fn big() -> String {
    let entry = |number: u32| {
        json!({
            "id": format!("ent_{:08x}", number.wrapping_mul(2_654_435_761)), "amount": number * 37 % 10_000,
            "currency": "EUR", "direction": "credit", "reference": format!("invoice {number}"),
        })
    };
    json!({"data": (0..150).map(entry).collect::<Vec<_>>(), "has_more": true}).to_string()
}

/// A transfer of this amount.
fn post(amount: &str) -> String {
    format!(
        "wrk.method = 'POST'
wrk.headers['Content-Type'] = 'application/json'
wrk.body = '{{\"from_account_id\":\"acc_0123456789\",\"to_account_id\":\"acc_9876543210\",\"amount\":{amount},\"currency\":\"EUR\",\"reference\":\"invoice 4711\"}}'
{LATENCY}"
    )
}

/// A port that nobody has now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn signed(signer: &SigningKey, count: u32) -> anyhow::Result<String> {
    let now = Clock::system().now().timestamp();
    let mut list = String::new();
    for number in 0..count {
        let claims = json!({
            "iss": "https://idp.example", "aud": "bench", "sub": format!("customer-{number}"),
            "jti": format!("token-{number}"), "iat": now, "exp": now + LIFETIME_S, "scope": "accounts:read",
        });
        list.push_str(&signer.sign(&claims)?);
        list.push('\n');
    }
    Ok(list)
}

/// Each request carries the next token of the list, and the first one the next to the last of the turn before: tokens that
/// are new would else be those of that turn.
fn script(tokens: &Path) -> String {
    format!(
        "local requests, threads = {{}}, {{}}
local file = '{}'
function setup(thread)
  threads[#threads + 1] = thread
end
function init()
  for token in io.lines(file) do
    requests[#requests + 1] = wrk.format('GET', nil, {{ ['Authorization'] = 'Bearer ' .. token }})
  end
  local place = io.open(file .. '.at')
  at = place and place:read('*n') or 0
end
function request()
  at = at % #requests + 1
  return requests[at]
end
{LATENCY}
local told = done
function done(summary, latency, requests)
  told(summary, latency, requests)
  local place = io.open(file .. '.at', 'w')
  place:write(threads[1]:get('at'))
  place:close()
end
",
        tokens.display()
    )
}

fn key_set(signers: &[&SigningKey]) -> String {
    let keys = signers
        .iter()
        .map(|signer| PublicKey::new(signer.algorithm(), signer.public(), KeyState::Active));
    KeySet {
        seq: 1,
        keys: keys.collect(),
        revoked_kids: Vec::new(),
    }
    .to_jwks()
    .to_string()
}

/// The public key as haproxy reads it (RFC 5480 §2).
fn public_pem(signer: &SigningKey) -> String {
    let head = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
        0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let document = STANDARD.encode([&head, signer.public()].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{document}\n-----END PUBLIC KEY-----\n")
}
