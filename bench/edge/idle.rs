//! What a connection costs that does nothing: TLS is spoken, one request was answered, and the client keeps it open.

use anyhow::Context as _;

use crate::candidate::Candidate;
use crate::client::{self, Connection};
use crate::site::Site;

/// Bytes of resident memory for each of so many connections, over what the process had before them.
pub(crate) fn bytes_each(site: &Site, candidate: &Candidate, connections: u32) -> anyhow::Result<u64> {
    let tls = client::tls(site, false)?;
    let before = candidate.processes().resident_kib()?;
    let mut open = Vec::new();
    for number in 0..connections {
        let mut connection = Connection::open(&tls, candidate.port())?;
        connection
            .get("/open", false)
            .with_context(|| format!("connection {number}"))?;
        open.push(connection);
    }
    let after = candidate.processes().resident_kib()?;
    drop(open);
    Ok(after.saturating_sub(before) * 1_024 / u64::from(connections))
}
