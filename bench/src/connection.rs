//! One kept-alive HTTP/1.1 connection, as lean as can be: the client must cost less than what it measures.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};

/// Where requests go.
pub(crate) enum Target {
    /// Nowhere, and they are answered at once: how late the machine lets a client be.
    Nothing,
    /// core-api's own socket.
    Socket(PathBuf),
    /// The gateway, or another in its place, over TLS.
    Gateway(SocketAddr, Arc<ClientConfig>),
}

impl Target {
    pub(crate) fn gateway(url: &str, authority: &Path) -> anyhow::Result<Self> {
        let address = url
            .trim_start_matches("https://")
            .trim_end_matches('/')
            .replace("localhost", "127.0.0.1");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority)?)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self::Gateway(
            address.parse().with_context(|| address.clone())?,
            Arc::new(config),
        ))
    }

    pub(crate) fn connect(&self) -> anyhow::Result<Connection> {
        let patience = Some(Duration::from_secs(10));
        let stream: Option<Box<dyn Stream>> = match self {
            Self::Nothing => None,
            Self::Socket(path) => {
                let stream = UnixStream::connect(path).with_context(|| path.display().to_string())?;
                stream.set_read_timeout(patience)?;
                Some(Box::new(stream))
            }
            Self::Gateway(address, config) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(patience)?;
                let name = ServerName::try_from("localhost")?;
                Some(Box::new(StreamOwned::new(
                    ClientConnection::new(config.clone(), name)?,
                    stream,
                )))
            }
        };
        Ok(Connection {
            stream,
            buffer: vec![0; 16 * 1024],
        })
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// An open connection.
pub(crate) struct Connection {
    stream: Option<Box<dyn Stream>>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends the request and reads the whole answer, which must be 200.
    pub(crate) fn exchange(&mut self, request: &str) -> anyhow::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        stream.write_all(request.as_bytes())?;
        stream.flush()?;
        let mut filled = 0;
        loop {
            let room = self.buffer.get_mut(filled..).unwrap_or_default();
            ensure!(!room.is_empty(), "the answer is too long");
            let count = stream.read(room)?;
            if count == 0 {
                bail!("the connection was closed");
            }
            filled += count;
            let seen = self.buffer.get(..filled).unwrap_or_default();
            if let Some(total) = total_length(seen)?
                && filled >= total
            {
                ensure!(
                    seen.starts_with(b"HTTP/1.1 200"),
                    "{}",
                    String::from_utf8_lossy(seen)
                );
                return Ok(());
            }
        }
    }
}

/// Head and body length together, once the head is complete.
fn total_length(seen: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(seen.get(..end).unwrap_or_default())?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    Ok(Some(end + 4 + length.context("the answer has no length")?))
}
