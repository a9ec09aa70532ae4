//! The options of `portico fleet`.

use clap::{Args, Subcommand};

use crate::control_plane::{AskArguments, ControlPlaneArguments};

/// What can be asked of and done with the gateways of a fleet.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  portico fleet status                    every gateway: in order, or since when and why not
  portico fleet explain edge-1            stream by stream: what it should hold, holds, and said last
  portico fleet diff edge-1               what it holds beside what it should hold
  portico fleet evict edge-1              tell it nothing more, and wait for it no more
  portico fleet admit edge-1              let it in again
  portico fleet new-epoch                 after the database was restored from a backup
  portico fleet export > begin.json       what a new gateway can begin with while the control plane is away

Standings, from good to bad: IN_SYNC; PENDING (told less than a minute ago); STALE (longer); DRIFTED (its memory is not
what it says it took over, a listener waits for a restart, or its clock is wrong); REFUSED; INCOMPATIBLE; UNREACHABLE (no
heartbeat for 15 s); CONFLICT (two processes speak as it).")]
pub(crate) enum FleetCommand {
    /// Show every gateway with its standing; exit 1 when one is worse than PENDING.
    Status(AskArguments),
    /// Show one gateway, stream by stream.
    Explain(NodeArguments),
    /// Show where what a gateway holds differs from what it should hold.
    Diff(NodeArguments),
    /// Tell a gateway nothing more. It goes on with what it holds: stop it, or take its certificate away, as well.
    Evict(NodeArguments),
    /// Let a gateway in again.
    Admit(NodeArguments),
    /// Begin another epoch: what is stated from now on lies beyond everything that was ever told.
    NewEpoch(AskArguments),
    /// Print what is stated, signed as it is: a gateway with `fleet.begin_with` starts from it without a control plane.
    Export(ControlPlaneArguments),
}

/// Options of `portico fleet explain|diff|evict|admit`.
#[derive(Debug, Args)]
pub(crate) struct NodeArguments {
    /// Name of the gateway: the DNS name in its certificate.
    #[arg(value_name = "NODE")]
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) fleet: AskArguments,
}
