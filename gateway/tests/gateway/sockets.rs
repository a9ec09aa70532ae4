//! What the kernel still holds for a socket, as Linux tells it in `/proc/net/tcp`.

/// Bytes that wait in a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// Sent, and not acknowledged by the other side.
    pub(crate) sent: u64,
    /// Here, and not read.
    pub(crate) unread: u64,
}

/// What is held for the connection of these two ports, on the side of the first. None when there is no such connection.
pub(crate) fn held(local: u16, remote: u16) -> Option<Held> {
    connections().find_map(|(ours, theirs, held)| (ours == local && theirs == remote).then_some(held))
}

/// Whether something that nobody has read waits on a connection to this port.
pub(crate) fn is_anything_unread_from(remote: u16) -> bool {
    connections().any(|(_, theirs, held)| theirs == remote && held.unread > 0)
}

fn connections() -> impl Iterator<Item = (u16, u16, Held)> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows: Vec<_> = table.lines().skip(1).filter_map(row).collect();
    rows.into_iter()
}

/// `sl local_address rem_address st tx_queue:rx_queue …`, all in hexadecimal digits.
fn row(line: &str) -> Option<(u16, u16, Held)> {
    let mut fields = line.split_whitespace().skip(1);
    let mut port = || u16::from_str_radix(fields.next()?.rsplit_once(':')?.1, 16).ok();
    let (local, remote) = (port()?, port()?);
    let (sent, unread) = fields.nth(1)?.split_once(':')?;
    let bytes = |digits| u64::from_str_radix(digits, 16).ok();
    let held = Held {
        sent: bytes(sent)?,
        unread: bytes(unread)?,
    };
    Some((local, remote, held))
}
