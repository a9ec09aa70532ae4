//! What a service manager is told (sd_notify(3)): that the gateway serves, and which process it is from now on.

use std::os::unix::net::UnixDatagram;

use service_runtime::settings::variable;

/// The gateway serves.
pub(crate) fn is_ready() {
    tell("READY=1");
}

/// Another process, which serves already, is the one to watch.
pub(crate) fn main_process_is(pid: u32) {
    tell(&format!("MAINPID={pid}"));
}

/// Nothing is told where nobody asks: without systemd, or with a unit whose type is not `notify`.
fn tell(state: &str) {
    let Some(path) = variable("NOTIFY_SOCKET").filter(|path| path.starts_with('/')) else {
        return;
    };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), &path));
    if let Err(error) = sent {
        tracing::warn!(%error, path, "the service manager could not be told");
    }
}
