//! Listening sockets: bound before anything else starts, one per worker thread and address.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;

use anyhow::Context as _;
use socket2::{Domain, Protocol, SockAddr, SockFilter, SockRef, Socket, Type};

/// Connections that may wait to be accepted, per socket.
const BACKLOG: i32 = 1_024;

/// Drops segments with SYN and keeps all others. The octet of the flags is the thirteenth behind the first of TCP's
/// header, where a filter of a listening socket begins to count (RFC 9293 §3.1, bpf in socket(7)).
const NO_SYN: [SockFilter; 4] = {
    const LOAD_OCTET: u16 = 0x30;
    const JUMP_IF_SET: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    [
        SockFilter::new(LOAD_OCTET, 0, 0, 13),
        SockFilter::new(JUMP_IF_SET, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
};

/// Takes the sockets that another process has handed over for this address, and binds those that are missing.
///
/// All of them are kept, also when there are fewer workers now: closing one would reset the connections that wait in it.
///
/// # Errors
/// When the address is taken or may not be bound; the message names it.
pub(crate) fn take_or_bind(
    name: &str,
    address: SocketAddr,
    workers: usize,
    inherited: Vec<TcpListener>,
) -> anyhow::Result<Vec<TcpListener>> {
    let is_there = |socket: &TcpListener| {
        socket
            .local_addr()
            .is_ok_and(|at| at.ip() == address.ip() && (address.port() == 0 || at.port() == address.port()))
    };
    let mut sockets: Vec<TcpListener> = inherited.into_iter().filter(is_there).collect();
    let Some(first) = sockets.first() else {
        return bind_all(name, address, workers);
    };
    let bound = first.local_addr()?;
    for _ in sockets.len()..workers {
        sockets.push(bind_one(name, bound)?);
    }
    Ok(sockets)
}

/// Binds one socket per worker to the same address; the kernel spreads connections over them. Port 0 picks a port, the
/// same for all.
///
/// # Errors
/// When the address is taken or may not be bound; the message names it.
pub(crate) fn bind_all(name: &str, address: SocketAddr, workers: usize) -> anyhow::Result<Vec<TcpListener>> {
    let bound = probe(address).with_context(|| format!("listener {name}: cannot bind {address}"))?;
    (0..workers).map(|_| bind_one(name, bound)).collect()
}

/// Lets no handshake begin on a listening socket; those that have begun are finished. To a client it is as if its first
/// segment was lost: it sends it again a second later, and is refused or finds the next gateway.
///
/// # Errors
/// When the kernel takes no filter.
pub(crate) fn begin_no_handshakes(socket: &impl AsFd) -> std::io::Result<()> {
    SockRef::from(socket).attach_filter(&NO_SYN)
}

fn bind_one(name: &str, bound: SocketAddr) -> anyhow::Result<TcpListener> {
    open(bound, true)
        .and_then(|socket| {
            socket.listen(BACKLOG)?;
            Ok(TcpListener::from(socket))
        })
        .with_context(|| format!("listener {name}: cannot bind {bound}"))
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
    fn sockets_of_another_process_are_all_kept_and_missing_ones_are_bound_beside_them() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        for (handed_over, workers) in [(2, 2), (3, 2), (1, 4)] {
            let old = bind_all("public.http", any, handed_over).unwrap();
            let address = old[0].local_addr().unwrap();
            let sockets = take_or_bind("public.http", address, workers, old).unwrap();
            assert_eq!(sockets.len(), handed_over.max(workers));
            assert!(
                sockets
                    .iter()
                    .all(|socket| socket.local_addr().unwrap() == address)
            );
        }
    }

    #[test]
    fn sockets_of_another_address_are_not_taken_for_this_one() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let old = bind_all("public.http", any, 1).unwrap();
        let elsewhere = SocketAddr::from(([127, 0, 0, 2], 0));
        let sockets = take_or_bind("public.http", elsewhere, 1, old).unwrap();
        assert_eq!(sockets[0].local_addr().unwrap().ip(), elsewhere.ip());
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
