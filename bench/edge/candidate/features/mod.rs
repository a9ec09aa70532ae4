//! What each feature costs: routes and listeners with one of them each, beside the same without it. All have ten headers
//! and a limit, and none writes a line.

mod haproxy;
mod nginx;
mod portico;

use super::Row;
use crate::client::{self, Clients};
use crate::load::Client;
use crate::proof::Proof;
use crate::site::Site;

/// The rows of features that all of them have. `kept` is the field of an answer that was kept; certificates are demanded
/// at another port.
fn rows(site: &Site, who: &str, kept: (&str, &str), demanding: u16) -> anyhow::Result<Vec<Row>> {
    let row = |name: &str, path, script| Row::closed(site, &format!("{who}: {name}"), path, script);
    let (nobody, somebody) = (client::tls(site, false)?, client::tls(site, true)?);
    let own = |name: &str, reconnects| {
        let tls = nobody.clone();
        Row::by(
            Client::Own(Clients { tls, reconnects }),
            &format!("{who}: {name}"),
        )
    };
    let certified = |name: &str, reconnects| {
        let tls = somebody.clone();
        Row {
            path: "/certified",
            port: Some(demanding),
            proof: Some(Proof::Certificate(nobody.clone())),
            ..Row::by(
                Client::Own(Clients { tls, reconnects }),
                &format!("{who}: {name}"),
            )
        }
    };
    Ok(vec![
        row("GET", "/open", "open.lua"),
        row("GET, a kept answer", "/kept", "open.lua").proven_by(site, kept)?,
        row("GET, TLS to the upstream", "/over-tls", "open.lua"),
        row("GET of 16 KiB", "/big", "packed.lua"),
        row("GET of 16 KiB, compressed", "/packed", "packed.lua")
            .proven_by(site, ("content-encoding", "gzip"))?,
        row("POST", "/unchecked", "transfer.lua"),
        own("GET by rustls", false),
        certified("GET by rustls, client certificate", false),
        own("GET, handshake", true),
        certified("GET, handshake, client certificate", true),
    ])
}
