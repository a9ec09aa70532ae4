//! What the control plane and the gateways of a fleet say to each other, and the rules by which a gateway believes it.
//!
//! Everything that a gateway takes over comes as an [`Envelope`]: exact bytes, signed with a key of the `bundle` ring
//! that a [`Trust`] document names, which the offline [`Roots`] signed. Four [`Stream`]s run beside each other, each with a
//! [`Position`] of its own that never goes back. This crate knows neither clocks, nor sockets, nor disks: time is a
//! parameter in Unix seconds.
//!
//! **Invariant:** [`admit`] is the only way from bytes to a [`Statement`] that is to be taken over, and [`readmit`] the only
//! one from bytes on a disk; both check the signature first and look at nothing else before.

#![warn(missing_docs)]

mod admission;
mod approval;
mod digest;
mod envelope;
mod list;
mod messages;
mod rollout;
mod standing;
mod statement;
mod stream;
#[cfg(test)]
mod tests;
mod trust;

pub use admission::{Member, Refusal, admit, readmit};
pub use approval::{Approval, ApprovalError, Approver};
pub use digest::{Digest, InvalidDigest};
pub use envelope::{Envelope, EnvelopeError, MAX_ENVELOPE_BYTES, Signature, to_be_signed};
pub use list::{ListError, Page, PageName, StatedList};
pub use messages::{
    Acknowledgement, ActiveStatement, Exported, Heartbeat, LATENCY_BOUNDS_US, Objection, Pointer,
    ShadowCounts, Stage, Traffic,
};
pub use rollout::{Next, Phase, RolloutNode, Rules, members, step, step_back};
pub use standing::{Active, LIVE_S, Observation, PENDING_S, Refused, Standing, Told, Verdict, judge};
pub use statement::{PolicyContent, PolicyFile, Statement, Target, Version};
pub use stream::{InvalidPosition, Position, Stream, UnknownStream};
pub use trust::{Roots, RootsError, Trust, TrustError, TrustedKey};
