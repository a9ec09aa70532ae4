//! Which passwords a person may choose (IDN-4), and a set of breached ones that needs no network.
//!
//! Pure: it knows no file, no socket and no clock. core-api judges new passwords with it, the command line builds and
//! checks the files of breached passwords.
//!
//! The rules follow NIST SP 800-63B-4 §3.1.1 (length before composition, a blocklist, no expiry, Unicode in one form)
//! and OWASP ASVS 5.0 §6.2; those of [`Profile::PciStaff`] add PCI DSS 4.0 §8.3.6.
//!
//! **Invariant:** all violations are told at once, and what a password costs to judge is bounded, however long it is.

#![warn(missing_docs)]

mod breach;
mod normal;
mod rules;

pub use breach::{
    BreachFilter, BuildError, Built, FilterFault, HEADER_BYTES, LineFault, MAX_FILTER_BYTES, build,
};
pub use normal::normal;
pub use rules::{FilterMissing, Profile, Rules, Subject, Violation};
