//! TLS with clients and upstreams. The side of the listeners: certificates by the name a client asks for, client certificates, and one rustls
//! configuration for each certificate of a listener, all replaced while connections go on.
//!
//! **Invariant:** a handshake uses one consistent set: pair, versions and client authority that were checked together.
//! Every certificate has sessions of its own, so no session is resumed under another host (TLS-3).

mod certificate;
mod client_authority;
mod files;
mod hello;
mod listener;
mod staple;
mod upstream;
mod upstream_files;

use policy::TlsVersion;
use rustls::{SupportedProtocolVersion, version};

pub(crate) use client_authority::VerifiedClient;
pub(crate) use files::TlsFiles;
pub(crate) use hello::{Greeting, greet};
pub(crate) use listener::{HTTP_2, Served, TlsEntrance};
pub(crate) use upstream::{UpstreamIdentity, UpstreamTlsSlot, failure as upstream_failure};
pub use upstream_files::check_upstream_files;
pub(crate) use upstream_files::{UpstreamTlsFiles, Wanted as WantedUpstreamTls};

/// The versions from this one on.
const fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_1_2: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    static FROM_1_3: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match min {
        TlsVersion::Tls12 => &FROM_1_2,
        TlsVersion::Tls13 => &FROM_1_3,
    }
}
