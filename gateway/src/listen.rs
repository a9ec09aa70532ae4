//! Listening sockets: bound before anything else starts, one per worker thread and address.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Connections that may wait to be accepted, per socket.
const BACKLOG: i32 = 1_024;

/// Binds one socket per worker to the same address; the kernel spreads connections over them. Port 0 picks a port, the
/// same for all.
///
/// # Errors
/// When the address is taken or may not be bound; the message names it.
pub(crate) fn bind_all(name: &str, address: SocketAddr, workers: usize) -> anyhow::Result<Vec<TcpListener>> {
    let bound = probe(address).with_context(|| format!("listener {name}: cannot bind {address}"))?;
    (0..workers)
        .map(|_| {
            open(bound, true)
                .and_then(|socket| {
                    socket.listen(BACKLOG)?;
                    Ok(TcpListener::from(socket))
                })
                .with_context(|| format!("listener {name}: cannot bind {bound}"))
        })
        .collect()
}

/// A socket with `SO_REUSEPORT` joins one that another process of the same user has bound, and would take half of its
/// connections. One without it is refused, so it is asked first. It returns the address with the port filled in.
fn probe(address: SocketAddr) -> std::io::Result<SocketAddr> {
    let socket = open(address, false)?;
    socket.listen(1)?;
    let bound = socket.local_addr()?;
    bound
        .as_socket()
        .ok_or_else(|| std::io::Error::other("not an IP address"))
}

fn open(address: SocketAddr, shared: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_one_port() {
        let listeners = bind_all("public.http", SocketAddr::from(([127, 0, 0, 1], 0)), 3).unwrap();
        let ports: Vec<_> = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap().port())
            .collect();
        assert_ne!(ports[0], 0);
        assert_eq!(ports, [ports[0]; 3]);
    }

    #[test]
    fn a_port_that_another_gateway_holds_is_refused() {
        let first = bind_all("public.http", SocketAddr::from(([127, 0, 0, 1], 0)), 2).unwrap();
        let taken = first[0].local_addr().unwrap();
        let error = format!("{:#}", bind_all("public.http", taken, 2).unwrap_err());
        assert!(
            error.starts_with(&format!("listener public.http: cannot bind {taken}: ")),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1);
    }
}
