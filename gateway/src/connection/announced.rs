//! The PROXY protocol: which client a trusted proxy has connected for, said before the first byte of that client (AD-5).
//!
//! Both versions are read to the letter, and not a byte further: what follows is of the client.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// What version 2 begins with; no version 1 does.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included.
const MOST_LINE: usize = 107;
/// The most of version 2 behind its first sixteen bytes: addresses, and words of the proxy that mean nothing here.
const MOST_V2: u16 = 2_048;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announced {
    /// The connection is of this client.
    Client(IpAddr),
    /// It is of the proxy itself.
    Itself,
}

/// Reads the header.
///
/// # Errors
/// When there is none, or not in one way.
pub(super) async fn read(socket: &mut TcpStream) -> io::Result<Announced> {
    // The shortest header of all has more.
    let mut start = [0; SIGNATURE.len()];
    socket.read_exact(&mut start).await?;
    let announced = if start == SIGNATURE {
        let mut head = [0; 4];
        socket.read_exact(&mut head).await?;
        let [version, family, high, low] = head;
        let length = u16::from_be_bytes([high, low]);
        if length > MOST_V2 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut rest = vec![0; usize::from(length)];
        socket.read_exact(&mut rest).await?;
        version_2(version, family, &rest)
    } else {
        version_1(&read_line(socket, &start).await?)
    };
    announced.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The line that begins like this, without its end.
async fn read_line(socket: &mut TcpStream, start: &[u8]) -> io::Result<Vec<u8>> {
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= MOST_LINE || !line.starts_with(b"PROXY ") {
            return Err(io::ErrorKind::InvalidData.into());
        }
        line.push(socket.read_u8().await?);
    }
    line.truncate(line.len().saturating_sub(2));
    Ok(line)
}

fn version_1(line: &[u8]) -> Option<Announced> {
    let line = std::str::from_utf8(line).ok()?.strip_prefix("PROXY ")?;
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(Announced::Itself);
    }
    let mut parts = line.split(' ');
    let (family, source, destination) = (parts.next()?, parts.next()?, parts.next()?);
    let mut port = || {
        let port = parts.next()?;
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        port.parse::<u16>().ok().filter(|_| is_number)
    };
    port()?;
    port()?;
    let is_of_family = |address: &IpAddr| match family {
        "TCP4" => address.is_ipv4(),
        "TCP6" => address.is_ipv6(),
        _ => false,
    };
    let address = |text: &str| text.parse().ok().filter(is_of_family);
    address(destination)?;
    let client = address(source)?;
    parts.next().is_none().then_some(Announced::Client(client))
}

fn version_2(version: u8, family: u8, rest: &[u8]) -> Option<Announced> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;
    match (version, family) {
        (LOCAL, _) | (PROXY, 0x00) => Some(Announced::Itself),
        // Source, destination, and a port of each.
        (PROXY, 0x11) if rest.len() >= 12 => {
            let source = rest.first_chunk::<4>()?;
            Some(Announced::Client(Ipv4Addr::from(*source).into()))
        }
        (PROXY, 0x21) if rest.len() >= 36 => {
            let source = rest.first_chunk::<16>()?;
            Some(Announced::Client(Ipv6Addr::from(*source).into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    fn v2(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[version, family], &length, rest].concat()
    }

    /// What these bytes announce, and what is left for the client; `None` when they are no header.
    async fn announced(bytes: &[u8]) -> Option<(Announced, Vec<u8>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut proxy = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut socket, _) = listener.accept().await.unwrap();
        proxy.write_all(bytes).await.unwrap();
        proxy.shutdown().await.unwrap();
        let announced = read(&mut socket).await.ok()?;
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        Some((announced, rest))
    }

    fn client(address: &str) -> Announced {
        Announced::Client(address.parse().unwrap())
    }

    #[tokio::test]
    async fn ad5_both_versions_are_read_and_not_a_byte_of_the_client() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 1, 2, 1, 187];
        let v6 = [&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets()[..], &[0; 20]].concat();
        for (header, expected) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n".to_vec(),
                client("192.0.2.7"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n".to_vec(),
                client("2001:db8::7"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Announced::Itself),
            (b"PROXY UNKNOWN a b c d\r\n".to_vec(), Announced::Itself),
            (v2(0x21, 0x11, &v4), client("192.0.2.7")),
            (
                v2(0x21, 0x11, &[&v4[..], b"\x04\0\x01x"].concat()),
                client("192.0.2.7"),
            ),
            (v2(0x21, 0x21, &v6), client("2001:db8::7")),
            (v2(0x20, 0x00, &[]), Announced::Itself),
            (v2(0x21, 0x00, b"unspecified"), Announced::Itself),
        ] {
            for of_client in [&b""[..], b"\x16\x03\x01\r\nPROXY "] {
                let seen = announced(&[&header, of_client].concat()).await;
                let shown = header.escape_ascii();
                assert_eq!(seen, Some((expected, of_client.to_vec())), "{shown}");
            }
        }
    }

    #[tokio::test]
    async fn ad5_what_is_no_header_in_one_way_is_none() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 1, 2, 1, 187];
        let long = format!("PROXY UNKNOWN {}\r\n", "a".repeat(92));
        let mut cases: Vec<Vec<u8>> = [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711 443 1\r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 4711 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +711 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711 65536\r\n",
            "PROXY TCP4 2001:db8::7 10.0.0.1 4711 443\r\n",
            "PROXY TCP6 192.0.2.7 ::1 4711 443\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 4711 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0 4711 443\r\n",
            "PROXY TCP4 192.0.2.7 ::1 4711 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "proxy TCP4 192.0.2.7 10.0.0.1 4711 443\r\n",
            "PROXY TCP4 192.0.2.7",
            long.as_str(),
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec();
        cases.extend([
            v2(0x11, 0x11, &v4),
            v2(0x22, 0x11, &v4),
            v2(0x21, 0x12, &v4),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x21, 0x11, &v4[..11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x11, &[0; 2_049]),
            v2(0x21, 0x11, &v4)[..20].to_vec(),
        ]);
        for case in cases {
            assert_eq!(announced(&case).await, None, "{}", case.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn ad5_any_client_that_is_written_is_read(client: std::net::SocketAddr, destination: std::net::SocketAddr) {
            let family = |address: &std::net::SocketAddr| if address.is_ipv4() { "TCP4" } else { "TCP6" };
            prop_assume!(family(&client) == family(&destination));
            let line = format!(
                "PROXY {} {} {} {} {}",
                family(&client), client.ip(), destination.ip(), client.port(), destination.port()
            );
            prop_assert_eq!(version_1(line.as_bytes()), Some(Announced::Client(client.ip())));
        }
    }
}
