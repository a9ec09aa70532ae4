//! The TLS side of the listeners: certificates by the name a client asks for, client certificates, and one rustls
//! configuration for each certificate of a listener, all replaced while connections go on.
//!
//! **Invariant:** a handshake uses one consistent set: pair, versions and client authority that were checked together.
//! Every certificate has sessions of its own, so no session is resumed under another host (TLS-3).

mod certificate;
mod client_authority;
mod expiry;
mod files;
mod hello;
mod listener;
#[cfg(test)]
mod tests;

pub(crate) use client_authority::VerifiedClient;
pub(crate) use files::TlsFiles;
pub(crate) use hello::{Greeting, greet};
pub(crate) use listener::{Served, TlsEntrance};
