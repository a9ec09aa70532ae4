//! The directory of a gateway: policy, certificates, settings.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tempfile::TempDir;

/// The name of every gateway.
pub const HOST: &str = "edge.example";

/// What every site has; what is upper case is its own.
const POLICY: &str = r#"
version: 1
listeners:
  edge: { https: { bind: "127.0.0.1:8443", tls: { min: "1.2", certificate: gateway } } }
hosts: [edge.example]
upstreams:
  core: { UPSTREAM, authorization: strip }
headers:
  api:
    set: { X-Content-Type-Options: nosniff, X-Generation: "GENERATION" }
    remove: [Server]
floor:
  limits: { head: 16KiB, headers: 64, target: 4KiB, body: 64KiB }
  timeouts: { head: 5s, body: 10s }
  headers: api
  rate:
    per-address: { limit: 1000000/s, burst: 1000000, key: [address] }
routes:
ROUTES"#;

/// Certificates, policies and settings of gateways, in a temporary directory.
pub struct Site {
    directory: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    policy: String,
}

/// Where a gateway listens, and what it does not share with others.
#[derive(Debug, Clone)]
pub struct Place {
    /// Names its state, its settings file and its log.
    pub name: String,
    /// Port 0 picks one.
    pub https: SocketAddr,
    /// Port 0 picks one.
    pub private: SocketAddr,
    /// Whether it runs the policies of the site. A gateway of a fleet is told what to run.
    pub has_directory: bool,
    /// Further settings, as YAML.
    pub more: String,
}

impl Place {
    /// On free ports of loopback.
    #[must_use]
    pub fn anywhere(name: &str) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            name: name.to_owned(),
            https: any,
            private: any,
            has_directory: true,
            more: String::new(),
        }
    }
}

impl Site {
    /// A site in front of an upstream ([`super::Upstream`]), with a route for each thing that it does.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn new(upstream: SocketAddr) -> anyhow::Result<Self> {
        let upstream =
            format!("address: 'http://{upstream}', timeouts: {{ connect: 1s, read: 20s, total: 30s }}");
        let live = "upstream: core, websocket: { idle_timeout: 10min, max_frame: 4KiB }";
        let routes = ["fast", "held", "broken"].map(|name| open_route(name, "upstream: core"));
        Self::with_routes(&upstream, &(routes.concat() + &open_route("live", live)))
    }

    /// A site with the keys of an upstream, as in `{ … }`, and with routes, as [`open_route`] writes them.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn with_routes(upstream: &str, routes: &str) -> anyhow::Result<Self> {
        Self::with_policy(&POLICY.replace("UPSTREAM", upstream).replace("ROUTES", routes))
    }

    /// A site with a policy of its own; `GENERATION` in it changes with every edit.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn with_policy(policy: &str) -> anyhow::Result<Self> {
        service_runtime::crypto::install_provider();
        let site = Self {
            directory: tempfile::tempdir()?,
            authority: authority()?,
            policy: policy.to_owned(),
        };
        for name in ["policies/environments", "tls"] {
            fs::create_dir_all(site.path(name))?;
        }
        site.write("ca.pem", &site.authority.pem())?;
        // Only tests may talk to an upstream in clear over a network, even one of their own making.
        let overlay = format!("version: 1\nenvironment: test\nhosts: [{HOST}]\n");
        site.write("policies/environments/test.yaml", &overlay)?;
        site.write_policy(0)?;
        site.write_certificate(&site.path("tls"), "gateway", HOST)?;
        Ok(site)
    }

    /// A file of the site.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (path, draft) = (self.path(name), self.path("draft"));
        fs::write(&draft, text)?;
        Ok(fs::rename(draft, path)?)
    }

    /// Edits the policy: another `X-Generation` on every answer.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_policy(&self, generation: usize) -> anyhow::Result<()> {
        let text = self.policy.replace("GENERATION", &generation.to_string());
        self.write("policies/edge.yaml", &text)
    }

    /// Issues a new certificate and replaces the one of this name, the key first: between the two, a gateway sees a pair
    /// that does not fit and keeps the one it has. Returns it as DER.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_certificate(&self, folder: &Path, name: &str, host: &str) -> anyhow::Result<Vec<u8>> {
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new([host.to_owned()])?;
        // For clients as well: a gateway shows one to its control plane.
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let leaf = leaf.signed_by(&key, &self.authority)?;
        for (ending, text) in [("key", key.serialize_pem()), ("pem", leaf.pem())] {
            let draft = self.path("draft");
            fs::write(&draft, text)?;
            fs::rename(draft, folder.join(format!("{name}.{ending}")))?;
        }
        Ok(leaf.der().to_vec())
    }

    /// Lets another authority issue from here on: who trusts the one before trusts nothing new.
    ///
    /// # Errors
    /// When there is none.
    pub fn change_authority(&mut self) -> anyhow::Result<()> {
        self.authority = authority()?;
        Ok(())
    }

    /// Writes the settings of a gateway.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_settings(&self, place: &Place) -> anyhow::Result<PathBuf> {
        let Place {
            name,
            https,
            private,
            has_directory,
            more,
        } = place;
        let directory = self.directory.path().display();
        let policies = match has_directory {
            true => format!("policies_dir: {directory}/policies\n"),
            false => String::new(),
        };
        let text = format!(
            "{policies}certificate_dir: {directory}/tls\nstate_dir: {directory}/{name}\nendpoints_file: {directory}/{name}.json\nlisten: {{ edge.https: '{https}' }}\nprivate_listen: {private}\nconnections: {{ max_per_address: 10000, handshakes_per_second: 0 }}\n{more}"
        );
        let file = format!("{name}.yaml");
        self.write(&file, &text)?;
        Ok(self.path(&file))
    }

    /// How clients trust the gateways.
    ///
    /// # Errors
    /// When the certificate of the authority cannot be read.
    pub fn client_config(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes())?)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

fn authority() -> anyhow::Result<CertifiedIssuer<'static, KeyPair>> {
    let mut parameters = CertificateParams::new(Vec::<String>::new())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?)
}

/// A route `GET /NAME` for anyone, with these keys.
#[must_use]
pub fn open_route(name: &str, keys: &str) -> String {
    format!(
        "  {name}: {{ match: {{ method: GET, path: /{name} }}, auth: none, because: a drill asks without a token, {keys} }}\n"
    )
}
