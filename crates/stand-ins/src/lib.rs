//! Stand-ins for Vault and AWS, for tests: https servers that check what is asked of them and how it is signed, wrap and sign
//! with keys of their own, and fail on command. And a mail server that does.

#![warn(missing_docs)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a request that is not as it must be ends the test"
)]

mod boxes;
mod kms;
mod mail;
mod server;
pub mod sigv4;
mod transit;
mod vault;

pub use kms::{KEY_ID, Kms, REGION, SECRET};
pub use mail::{MailCertificate, MailServer, Protection};
pub use server::{Fake, Seen, Trouble};
pub use transit::{TOKEN, Transit};
pub use vault::{Leases, Lent, Terms, Vault};
