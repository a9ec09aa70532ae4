//! Ports are looked at before anything is started.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, bail};
use uuid::Uuid;

/// Where free ports are looked for: below those that Linux gives to whoever asks for any (32768 and above). Else a service that
/// starts before the gateway could be given the one that the gateway is to have.
const PICKED_FROM: u16 = 20_000;
const PICKED: u16 = 12_000;
/// So many taken ones in a row, and any will do.
const TRIES: usize = 100;

/// Takes a port of this machine, until the listener is dropped, to see whether it is free; 0 picks a free one, which then
/// stays the same when a service is restarted.
pub(super) fn reserve(port: u16, option: &str) -> anyhow::Result<(SocketAddr, TcpListener)> {
    let bound = match port {
        0 => pick(),
        port => TcpListener::bind((Ipv4Addr::LOCALHOST, port)),
    };
    match bound {
        Ok(listener) => {
            let address = listener
                .local_addr()
                .context("cannot read the address of a port")?;
            Ok((address, listener))
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            bail!(
                "port {port} is taken by another program: stop it, or choose another with {option} (0 picks a free one)"
            )
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            bail!("port {port} needs root: choose one above 1023 with {option}")
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on port {port}")),
    }
}

fn pick() -> io::Result<TcpListener> {
    for _ in 0..TRIES {
        let [high, low, ..] = *Uuid::new_v4().as_bytes();
        let port = PICKED_FROM + u16::from_be_bytes([high, low]) % PICKED;
        if let Ok(free) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(free);
        }
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_said_with_the_option_to_change_it() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let refusal = reserve(port, "--https-port").unwrap_err().to_string();
        assert!(
            refusal.contains(&port.to_string()) && refusal.contains("--https-port"),
            "{refusal}"
        );
    }

    #[test]
    fn port_zero_picks_one_that_the_kernel_gives_to_nobody_else() {
        let (address, _held) = reserve(0, "--https-port").unwrap();
        assert!((20_000..32_000).contains(&address.port()), "{address}");
    }
}
