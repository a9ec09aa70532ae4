//! How the control plane and mirrors are written in the settings.

use std::path::PathBuf;

/// Where the control plane listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    /// Over mutual TLS.
    Tls {
        /// The name that its certificate must have.
        host: String,
        port: u16,
    },
    /// Its socket: who may open it is said by the file system.
    Unix(PathBuf),
}

/// Where envelopes lie that anybody may hand on: their name proves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mirror {
    /// A server over TLS, and the path before the digest.
    Tls { address: Address, path: String },
    /// A folder with a file for each digest.
    Folder(PathBuf),
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        const FAULT: &str = "is `https://host:port` or `unix:/path`";
        if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let rest = text.strip_prefix("https://").ok_or(FAULT)?;
        let (host, port) = rest.rsplit_once(':').ok_or(FAULT)?;
        let host = host.trim_matches(['[', ']']);
        let is_host = rustls_pki_types::ServerName::try_from(host).is_ok();
        match port.parse() {
            Ok(port) if is_host => Ok(Self::Tls {
                host: host.to_owned(),
                port,
            }),
            _ => Err(FAULT),
        }
    }

    /// The `Host` of a request.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Tls { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tls { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "control-plane".to_owned(),
        }
    }
}

impl Mirror {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        const FAULT: &str = "is `https://host:port/path` or the absolute path of a folder";
        if text.starts_with('/') {
            return Ok(Self::Folder(PathBuf::from(text)));
        }
        let rest = text.strip_prefix("https://").ok_or(FAULT)?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let address = if authority.ends_with(']') || !authority.contains(':') {
            format!("https://{authority}:443")
        } else {
            format!("https://{authority}")
        };
        let is_path = path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
        if !is_path {
            return Err(FAULT);
        }
        Ok(Self::Tls {
            address: Address::parse(&address).map_err(|_| FAULT)?,
            path: format!("/{}", path.trim_matches('/')),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(host: &str, port: u16) -> Address {
        Address::Tls {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn a_control_plane_is_a_host_with_a_port_or_a_socket() {
        assert_eq!(
            Address::parse("https://cp.internal:8444"),
            Ok(tls("cp.internal", 8444))
        );
        assert_eq!(Address::parse("https://[::1]:8444"), Ok(tls("::1", 8444)));
        assert_eq!(tls("::1", 8444).authority(), "[::1]:8444");
        let socket = Address::Unix(PathBuf::from("/run/portico/control-plane.sock"));
        assert_eq!(Address::parse("unix:/run/portico/control-plane.sock"), Ok(socket));
        for wrong in [
            "",
            "http://cp:1",
            "https://cp",
            "https://cp:x",
            "https://:1",
            "https://a/b:1",
            "unix:run",
        ] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mirror_is_a_path_of_a_server_or_a_folder() {
        let folder = Mirror::Folder(PathBuf::from("/var/lib/portico/mirror"));
        assert_eq!(Mirror::parse("/var/lib/portico/mirror"), Ok(folder));
        for (text, port, path) in [
            ("https://mirror.internal", 443, "/"),
            ("https://mirror.internal/blobs/", 443, "/blobs"),
            ("https://mirror.internal:8080/a/b", 8080, "/a/b"),
        ] {
            let path = path.to_owned();
            let address = tls("mirror.internal", port);
            assert_eq!(Mirror::parse(text), Ok(Mirror::Tls { address, path }), "{text}");
        }
        for wrong in [
            "",
            "mirror",
            "http://mirror/",
            "https://mirror/?a",
            "https://mirror/a b",
        ] {
            assert!(Mirror::parse(wrong).is_err(), "{wrong}");
        }
    }
}
