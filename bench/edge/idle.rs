//! What a connection costs that does nothing: TLS is spoken, one request was answered, and the client keeps it open.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};

use crate::candidate::Candidate;
use crate::site::Site;

const PATIENCE: Duration = Duration::from_secs(10);

type Connection = StreamOwned<ClientConnection, TcpStream>;

/// Bytes of resident memory for each of so many connections, over what the process had before them.
pub(crate) fn bytes_each(site: &Site, candidate: &Candidate, connections: u32) -> anyhow::Result<u64> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(site.path("tls/gateway.pem"))?)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let before = candidate.processes().resident_kib()?;
    let mut open = Vec::new();
    for number in 0..connections {
        let connection =
            ask_once(&config, candidate.port()).with_context(|| format!("connection {number}"))?;
        open.push(connection);
    }
    let after = candidate.processes().resident_kib()?;
    drop(open);
    Ok(after.saturating_sub(before) * 1_024 / u64::from(connections))
}

fn ask_once(config: &Arc<ClientConfig>, port: u16) -> anyhow::Result<Connection> {
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("localhost")?;
    let mut connection = StreamOwned::new(ClientConnection::new(config.clone(), name)?, socket);
    connection.write_all(b"GET /open HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = [0; 4096];
    let count = connection.read(&mut answer)?;
    let answer = answer.get(..count).unwrap_or_default();
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(answer)
    );
    Ok(connection)
}
