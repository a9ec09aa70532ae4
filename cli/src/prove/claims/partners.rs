//! Claim `partners`: a route for partners is open to the certificates that the policy names, for as long as they stand.

use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use trial::edge::{Connection, Door, Gateway, HOST, Place, Site, Upstream, eventually};

use super::Verdict;
use crate::prove::ground::Ground;

/// How it is checked.
pub(super) const METHOD: &str = "A route for one partner is called with that partner's certificate, with none, with one of another name, of a stranger's \
    authority, that is over, and that is not for clients, and for another host than that of the handshake. Only the first may \
    be answered 200. Then it is revoked: the connection that is open must be answered 403, and a new one be refused.";

const PATH: &str = "/payroll";
const PARTNER: &str = "spiffe://bank.example/payroll";
const NAMED: &str =
    "client_certificate: { authority: partners, names: [\"spiffe://bank.example/payroll\"] }, ";
/// Serial of the partner's certificate.
const SERIAL: u64 = 7;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    knock(ground, NAMED).await
}

/// The route asks for no certificate: the same eyes must see that everybody is let in.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    knock(ground, "").await
}

/// What a client shows.
struct Client {
    what: &'static str,
    config: Arc<ClientConfig>,
}

async fn knock(ground: &Ground, named: &str) -> anyhow::Result<Verdict> {
    let upstream = Upstream::start().await?;
    let site = Site::new(upstream.address())?;
    site.write(
        "policies/partners.yaml",
        &format!(
            "version: 1\nlisteners:\n  partners: {{ https: {{ bind: '127.0.0.1:0', tls: {{ min: '1.2', certificate: gateway, client_authority: partners }} }} }}\nroutes:\n  payroll: {{ match: {{ method: GET, path: {PATH} }}, auth: none, because: the client certificate says who it is, {named}upstream: core }}\n"
        ),
    )?;
    let (ours, strangers) = (authority()?, authority()?);
    site.write("tls/partners.ca.pem", &ours.pem())?;
    site.write("tls/partners.crl.pem", &revocations(&ours, &[])?)?;
    let binary = &ground.system.launch().binary;
    let gateway = Gateway::start(&site, &Place::anywhere("gateway"), binary, &[]).await?;
    let address = gateway.address("partners.https")?;
    let door = |config: &Arc<ClientConfig>| Door::new(vec![address], config.clone());
    let mut verdict = Verdict::default();

    let partner = issued(&site, &ours, |_| ())?;
    let mut open = door(&partner).connect(0).await?;
    let status = ask(&mut open, HOST).await?;
    verdict.fact(format!("the partner was answered {status}"));
    verdict.fail_unless(status == 200, || format!("the partner was answered {status}"));
    let status = ask(&mut open, "other.example").await?;
    verdict.fact(format!("the partner, for another host: {status}"));
    verdict.fail_unless(status == 421, || {
        format!("the partner, for another host: {status}")
    });

    let mut open = door(&partner).connect(0).await?;
    for client in others(&site, &ours, &strangers)? {
        let what = client.what;
        let found = outcome(&door(&client.config)).await;
        match found {
            Some(200) => verdict.fail(format!("{what}: let in")),
            Some(status) => verdict.fact(format!("{what}: {status}")),
            None => verdict.fact(format!("{what}: the handshake was refused")),
        }
    }

    site.write("tls/partners.crl.pem", &revocations(&ours, &[SERIAL])?)?;
    eventually("the gateway has the revocation list", || {
        let log = gateway.log().unwrap_or_default();
        let taken = |line: &&str| line.contains("in force") && line.contains("client authority");
        std::future::ready(log.lines().filter(taken).count() > 1)
    })
    .await?;
    let status = ask(&mut open, HOST).await?;
    verdict.fact(format!("revoked, on the open connection: {status}"));
    verdict.fail_unless(status == 403, || {
        format!("revoked, on the open connection: answered {status}")
    });
    let found = outcome(&door(&partner)).await;
    verdict.fail_unless(found.is_none(), || {
        format!("revoked, on a new connection: {found:?}")
    });
    verdict.fact("revoked, on a new connection: the handshake was refused");
    Ok(verdict)
}

/// Who must not be let in.
fn others(
    site: &Site,
    ours: &CertifiedIssuer<'_, KeyPair>,
    strangers: &CertifiedIssuer<'_, KeyPair>,
) -> anyhow::Result<Vec<Client>> {
    let another = SanType::URI("spiffe://bank.example/payroll/more".try_into()?);
    let client = |what, config| Client { what, config };
    Ok(vec![
        client("no certificate", site.client_config()?),
        client(
            "a certificate of another name",
            issued(site, ours, |leaf| leaf.subject_alt_names = vec![another])?,
        ),
        client(
            "a certificate of a stranger's authority",
            issued(site, strangers, |_| ())?,
        ),
        client(
            "a certificate that is over",
            issued(site, ours, |leaf| leaf.not_after = date_time_ymd(2024, 1, 1))?,
        ),
        client(
            "a certificate for servers",
            issued(site, ours, |leaf| {
                leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            })?,
        ),
    ])
}

fn authority() -> anyhow::Result<CertifiedIssuer<'static, KeyPair>> {
    let mut parameters = CertificateParams::new(Vec::<String>::new())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?)
}

/// A client with a certificate of the partner, changed in some way.
fn issued(
    site: &Site,
    authority: &CertifiedIssuer<'_, KeyPair>,
    change: impl FnOnce(&mut CertificateParams),
) -> anyhow::Result<Arc<ClientConfig>> {
    let mut leaf = CertificateParams::new(Vec::<String>::new())?;
    leaf.subject_alt_names = vec![SanType::URI(PARTNER.try_into()?)];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    leaf.serial_number = Some(SerialNumber::from(SERIAL));
    leaf.use_authority_key_identifier_extension = true;
    change(&mut leaf);
    let key = KeyPair::generate()?;
    let chain = vec![leaf.signed_by(&key, authority)?.der().clone()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(site.path("ca.pem"))?)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    Ok(Arc::new(config))
}

/// The authority's list of what is revoked.
fn revocations(authority: &CertifiedIssuer<'_, KeyPair>, serials: &[u64]) -> anyhow::Result<String> {
    let revoked = serials.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2099, 1, 1),
        crl_number: SerialNumber::from(1 + u64::try_from(serials.len())?),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(authority)?.pem()?)
}

/// The status that a new connection comes to; none when it is refused, which TLS 1.3 tells with the first answer.
async fn outcome(door: &Door) -> Option<u16> {
    let mut connection = door.connect(0).await.ok()?;
    ask(&mut connection, HOST).await.ok()
}

async fn ask(connection: &mut Connection, host: &str) -> anyhow::Result<u16> {
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let answer = connection
        .send(&request)
        .await
        .context("the partner's connection")?;
    Ok(answer.status)
}
