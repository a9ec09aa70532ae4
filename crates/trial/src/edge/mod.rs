//! A gateway alone, with an upstream that does as it is told, and clients that count what they do not get: for drills of
//! reload, drain and upgrade.

mod client;
mod drill;
mod fleet;
mod flood;
mod load;
mod network;
mod process;
mod site;
mod soak;
mod sockets;
mod store;
mod upstream;

pub use client::{Answer, Connection, Door};
pub use drill::{Bounds, Drill, Phase, Stage};
pub use fleet::{Finding, Fleet};
pub use flood::{Statuses, flood};
pub use load::{Load, Tally};
pub use network::{Network, Service};
pub use process::{Gateway, eventually};
pub use site::{HOST, Place, Site, open_route};
pub use soak::{Sample, Soak, Soaked};
pub use sockets::{SocketTally, Sockets};
pub use store::Store;
pub use upstream::{Upstream, serve as serve_upstream};
