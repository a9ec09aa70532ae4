//! Certificates by ACME, from pebble: Let's Encrypt's own server for tests.

mod renewal_info;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chrono::TimeDelta;
use gateway::settings::AcmeSettings;
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use service_runtime::clock::Clock;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::authority::{Authority, Issued};
use crate::gateway_process::{GatewayProcess, POLICY, eventually, now};

const OVERLAY: &str = "version: 1\nenvironment: test\nhosts: [localhost, 127.0.0.1, api.bank.example, acme.bank.example, slow.bank.example]\n";

/// An authority, and the DNS that it asks.
struct Pebble {
    directory: tempfile::TempDir,
    settings: AcmeSettings,
    /// What the authority's interface shows.
    issued: Issued,
    management: SocketAddr,
    dns: SocketAddr,
    http_port: u16,
    children: Vec<Child>,
}

/// Free ports, below those that the kernel gives out: a gateway that starts anew must find its own still free.
fn free_ports() -> impl Iterator<Item = SocketAddr> {
    let first = 10_000 + u16::try_from(std::process::id() % 2_000).unwrap() * 10;
    (first..32_000)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .filter(|address| TcpListener::bind(address).is_ok())
}

impl Pebble {
    /// Starts both. It looks for http-01 at the port that the gateway's HTTP side will have.
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca = Authority::new("of pebble's own interface");
        let issued = ca.issue(&["localhost", "127.0.0.1"]);
        issued.write(directory.path(), "pebble");
        std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
        let mut ports = free_ports();
        let [listen, management, records, dns, http] = [(); 5].map(|()| ports.next().unwrap());
        let config = json!({"pebble": {
            "listenAddress": listen.to_string(), "managementListenAddress": management.to_string(),
            "certificate": directory.path().join("pebble.pem"), "privateKey": directory.path().join("pebble.key"),
            "httpPort": http.port(), "tlsPort": 1, "ocspResponderURL": "", "externalAccountBindingRequired": false,
        }});
        let config_file = directory.path().join("pebble.json");
        std::fs::write(&config_file, config.to_string()).unwrap();
        let mut servers = Command::new("pebble-challtestsrv");
        servers.args(["-dns01", &records.to_string(), "-management", &dns.to_string()]);
        servers.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        servers.args(["-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"]);
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(&config_file);
        pebble.args(["-dnsserver", &records.to_string()]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1");
        let children = [servers, pebble].map(|mut command| {
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        });
        let pebble = Self {
            settings: AcmeSettings {
                directory: format!("https://localhost:{}/dir", listen.port()),
                contacts: vec!["mailto:operators@bank.example".to_owned()],
                root: Some(directory.path().join("ca.pem")),
                dns_hook: directory.path().join("hook"),
                is_alone: true,
            },
            issued,
            directory,
            management,
            dns,
            http_port: http.port(),
            children: children.into(),
        };
        pebble.write_hook();
        for address in [listen, management, dns] {
            eventually("pebble listens", || async {
                TcpStream::connect(address).await.is_ok()
            })
            .await;
        }
        pebble
    }

    /// What an operator would write for the DNS at hand; it notes down how it is called.
    fn write_hook(&self) {
        use std::os::unix::fs::PermissionsExt as _;
        let (dns, log) = (self.dns, self.directory.path().join("hook.log"));
        let script = format!(
            "#!/bin/sh\nset -eu\necho \"$1 $2\" >>'{}'\ncase $1 in\n\
             present) case $2 in *.slow.*) exec sleep 600 ;; esac\n curl -sSf -d \"{{\\\"host\\\":\\\"$2.\\\",\\\"value\\\":\\\"$3\\\"}}\" http://{dns}/set-txt ;;\n\
             cleanup) curl -sSf -d \"{{\\\"host\\\":\\\"$2.\\\"}}\" http://{dns}/clear-txt ;;\nesac\n",
            log.display()
        );
        let hook = &self.settings.dns_hook;
        std::fs::write(hook, script).unwrap();
        std::fs::set_permissions(hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A gateway whose second certificate comes from here.
    async fn gateway(&self, challenge: &str) -> GatewayProcess {
        let fetched = format!("fetched: {{ hosts: [acme.bank.example], acme: {challenge} }}");
        self.gateway_with("fetched", &fetched).await
    }

    /// A gateway with more certificates, all of which come from here.
    async fn gateway_with(&self, names: &str, certificates: &str) -> GatewayProcess {
        let policy = with_certificates(names, certificates)
            .replace("127.0.0.1:8080", &format!("127.0.0.1:{}", self.http_port));
        let clock = Clock::manual(now());
        GatewayProcess::with_acme(self.settings.clone(), &policy, clock, |directory| {
            std::fs::write(directory.join("../policies/environments/test.yaml"), OVERLAY).unwrap();
        })
        .await
    }

    /// The authority that it issues from; made anew at every start.
    async fn issuer(&self) -> String {
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .timeout(std::time::Duration::from_secs(5))
            .build()
            .unwrap();
        let url = format!("https://{}/roots/0", self.management);
        client.get(url).send().await.unwrap().text().await.unwrap()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn with_certificates(names: &str, certificates: &str) -> String {
    let more = format!("certificate: gateway, more_certificates: [{names}]");
    let certificates = format!("certificates:\n  {certificates}\nhosts: [api.bank.example]");
    POLICY
        .replace("certificate: gateway", &more)
        .replace("hosts: [api.bank.example]", &certificates)
}

/// The serial number of the certificate that is shown for the fetched name.
async fn shown(gateway: &GatewayProcess, issuer: &str) -> Option<Vec<u8>> {
    use rustls_pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    let issuer = rustls_pki_types::CertificateDer::from_pem_slice(issuer.as_bytes()).unwrap();
    roots.add(issuer).unwrap();
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let socket = TcpStream::connect(gateway.https).await.unwrap();
    let name = ServerName::try_from("acme.bank.example").unwrap();
    let connecting = TlsConnector::from(std::sync::Arc::new(config)).connect(name, socket);
    let stream = connecting.await.ok()?;
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    Some(chain[0].to_vec())
}

async fn arrives(gateway: &GatewayProcess, issuer: &str) -> Vec<u8> {
    eventually("the certificate is shown", || async {
        shown(gateway, issuer).await.is_some()
    })
    .await;
    shown(gateway, issuer).await.unwrap()
}

fn state(gateway: &GatewayProcess, file: &str) -> std::path::PathBuf {
    gateway.directory.path().join("state/acme").join(file)
}

fn account(directory: &Path) -> Value {
    let text = std::fs::read_to_string(directory.join("state/acme/account.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["id"].clone()
}

#[tokio::test]
async fn http_01_fetches_a_certificate_and_renews_it_after_two_thirds_of_its_life() {
    let pebble = Pebble::start().await;
    let gateway = pebble.gateway("http-01").await;
    let issuer = pebble.issuer().await;
    let first = arrives(&gateway, &issuer).await;
    for left in ["fetched.order.json", "fetched.attempts.json"] {
        assert!(!state(&gateway, left).exists(), "{left}");
    }
    // The exception from the redirect is over.
    let challenge = format!("http://{}/.well-known/acme-challenge/any", gateway.http);
    let answer = gateway
        .client()
        .get(challenge)
        .header("host", "localhost")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 308);

    // Pebble's certificates live for five years.
    gateway.clock.advance(TimeDelta::days(365 * 3));
    assert_eq!(shown(&gateway, &issuer).await, Some(first.clone()));
    gateway.clock.advance(TimeDelta::days(200));
    eventually("it is renewed", || async {
        shown(&gateway, &issuer).await.is_some_and(|now| now != first)
    })
    .await;

    // Pebble goes by another clock: the new one is due as well.
    let waiting = r#"portico_acme_waiting{certificate="fetched"}"#;
    let fetched = r#"portico_acme_attempts_total{certificate="fetched",outcome="fetched"}"#;
    gateway.counts(waiting, 1).await;
    assert_eq!(
        gateway.metric(fetched).await,
        Some(2),
        "the authority is left alone"
    );
    gateway.clock.advance(TimeDelta::hours(6));
    gateway.counts(fetched, 3).await;
}

#[tokio::test]
async fn dns_01_runs_the_hook_before_and_after() {
    let pebble = Pebble::start().await;
    let gateway = pebble.gateway("dns-01").await;
    arrives(&gateway, &pebble.issuer().await).await;
    let log = std::fs::read_to_string(pebble.directory.path().join("hook.log")).unwrap();
    assert_eq!(
        log,
        "present _acme-challenge.acme.bank.example\ncleanup _acme-challenge.acme.bank.example\n"
    );
}

#[tokio::test]
async fn a_gateway_that_starts_anew_keeps_its_certificate_and_its_account() {
    let pebble = Pebble::start().await;
    let mut gateway = pebble.gateway("http-01").await;
    let issuer = pebble.issuer().await;
    let first = arrives(&gateway, &issuer).await;
    let before = account(gateway.directory.path());
    gateway.restart().await.unwrap();
    assert_eq!(
        shown(&gateway, &issuer).await,
        Some(first.clone()),
        "at once, and the same"
    );

    // Killed before the account was noted down: the key on disk leads to the same one.
    gateway.stop().await;
    for lost in ["account.json", "fetched.pem"] {
        std::fs::remove_file(state(&gateway, lost)).unwrap();
    }
    gateway.restart().await.unwrap();
    assert_ne!(arrives(&gateway, &issuer).await, first);
    assert_eq!(account(gateway.directory.path()), before);
}

#[tokio::test]
async fn after_a_failure_the_authority_is_left_alone_for_a_while_also_by_the_next_gateway() {
    let pebble = Pebble::start().await;
    // A hook that fails: the order is begun, and comes to nothing.
    let hook = std::fs::read_to_string(&pebble.settings.dns_hook).unwrap();
    std::fs::write(&pebble.settings.dns_hook, "#!/bin/sh\nexit 1\n").unwrap();
    let mut gateway = pebble.gateway("dns-01").await;
    let failed = r#"portico_acme_attempts_total{certificate="fetched",outcome="failed"}"#;
    let fetched = r#"portico_acme_attempts_total{certificate="fetched",outcome="fetched"}"#;
    eventually("the failure is counted", || async {
        gateway.metric(failed).await == Some(1)
    })
    .await;
    let order = std::fs::read(state(&gateway, "fetched.order.json")).unwrap();

    std::fs::write(&pebble.settings.dns_hook, hook).unwrap();
    gateway.restart().await.unwrap();
    gateway.clock.advance(TimeDelta::seconds(50));
    let waiting = r#"portico_acme_waiting{certificate="fetched"}"#;
    eventually("the next gateway waits, too", || async {
        gateway.metric(waiting).await == Some(1)
    })
    .await;
    assert_eq!(gateway.metric(failed).await, Some(1));
    assert_eq!(gateway.metric(fetched).await, None);
    assert_eq!(
        std::fs::read(state(&gateway, "fetched.order.json")).unwrap(),
        order
    );

    gateway.clock.advance(TimeDelta::seconds(11));
    arrives(&gateway, &pebble.issuer().await).await;
}

#[tokio::test]
async fn a_name_that_hangs_holds_up_no_other_certificate() {
    let pebble = Pebble::start().await;
    let both = "a_first: { hosts: [slow.bank.example], acme: dns-01 }\n  fetched: { hosts: [acme.bank.example], acme: dns-01 }";
    let gateway = pebble.gateway_with("a_first, fetched", both).await;
    eventually("the first one has begun, and hangs", || async {
        let log = std::fs::read_to_string(pebble.directory.path().join("hook.log")).unwrap_or_default();
        log.contains("present _acme-challenge.slow.bank.example")
    })
    .await;
    arrives(&gateway, &pebble.issuer().await).await;
    let ended = r#"portico_acme_attempts_total{certificate="a_first",outcome="failed"}"#;
    assert_eq!(gateway.metric(ended).await, None, "it still hangs");
}

#[tokio::test]
async fn one_gateway_of_several_proves_nothing_by_http_01() {
    let fetched = |challenge: &str| {
        let fetched = format!("fetched: {{ hosts: [acme.bank.example], acme: {challenge} }}");
        with_certificates("fetched", &fetched)
    };
    let mut gateway = GatewayProcess::with(POLICY, |settings| {
        settings.acme.directory = "https://localhost:1/dir".to_owned();
        settings.acme.dns_hook = "/bin/false".into();
    })
    .await;
    gateway.policy_file("base.yaml", &fetched("http-01"));
    let refused = r#"portico_policy_reloads_total{outcome="refused"}"#;
    gateway.counts(refused, 1).await;
    gateway.stop().await;
    // Without the one that was in force before.
    let state = gateway.directory.path().join("state");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    let why = gateway.fails_to_start();
    assert!(why.contains("certificates.fetched.acme: with http-01"), "{why}");
    assert!(why.contains("acme.is_alone"), "{why}");

    gateway.policy_file("base.yaml", &fetched("dns-01"));
    gateway.restart().await.unwrap();
}
