//! TLS between services: pairs that are checked before anybody is shown them, and serving for known clients only.

mod clients;
mod clock;
pub mod expiry;
mod pair;
mod serve;
mod settings;
#[cfg(test)]
mod tests;

pub use clients::ForClients;
pub use clock::ClockTime;
pub use pair::{CheckedPair, Pair, check_pair, is_for_clients, parse, uri_and_dns_names, validity};
pub use serve::{ClientNames, TlsService, serve_tls};
pub use settings::TlsSettings;
