//! Ports are looked at before anything is started.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, bail};

/// Takes a port of this machine, until the listener is dropped, to see whether it is free; 0 picks a free one, which then
/// stays the same when a service is restarted.
pub(super) fn reserve(port: u16, option: &str) -> anyhow::Result<(SocketAddr, TcpListener)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(address) {
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
    fn port_zero_picks_a_free_one() {
        assert_ne!(reserve(0, "--https-port").unwrap().0.port(), 0);
    }
}
