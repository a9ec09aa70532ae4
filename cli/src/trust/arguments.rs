//! The options of `portico trust`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::control_plane::{AskArguments, ControlPlaneArguments};

/// What can be done with the trust of a fleet.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples, with a root that never touches the control plane's machine:
  portico trust init --root root.key                           once, offline
  portico trust show --format json > request.json              beside the control plane
  portico trust sign --root root.key --request request.json --out trust.json     offline
  portico trust accept trust.json                              beside the control plane

Where two of three roots must sign (`fleet.root_threshold: 2`):
  portico trust sign --root second.key --add-to trust.json --out trust-2.json

A rotation of the bundle ring is refused until a document names its standby: sign one soon after each rotation.")]
pub(crate) enum TrustCommand {
    /// Make a root key.
    Init(InitArguments),
    /// Sign which keys may sign for gateways: those that the bundle ring has now.
    Sign(SignArguments),
    /// Hand a signed document over to the control plane.
    Accept(AcceptArguments),
    /// Show the document in force and the keys that the next one should name; exit 1 when they differ, or one of them may
    /// sign for less than 14 days longer.
    Show(AskArguments),
}

/// Options of `portico trust init`.
#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// Where to write the key: PKCS#8 in PEM, mode 0600. An existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    pub(crate) root: PathBuf,
}

/// Options of `portico trust sign`.
#[derive(Debug, Args)]
pub(crate) struct SignArguments {
    /// The root key; nobody but its owner may be able to read it.
    #[arg(long, value_name = "FILE")]
    pub(crate) root: PathBuf,
    /// What `portico trust show --format json` has printed, instead of asking the control plane.
    #[arg(long, value_name = "FILE")]
    pub(crate) request: Option<PathBuf>,
    /// Add a signature to this document instead of making another.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["request", "days"])]
    pub(crate) add_to: Option<PathBuf>,
    /// Where to write the signed document. An existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// For how many days the keys may sign.
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=400))]
    pub(crate) days: u16,
    #[command(flatten)]
    pub(crate) control_plane: ControlPlaneArguments,
}

/// Options of `portico trust accept`.
#[derive(Debug, Args)]
pub(crate) struct AcceptArguments {
    /// The signed document.
    #[arg(value_name = "FILE")]
    pub(crate) document: PathBuf,
    #[command(flatten)]
    pub(crate) control_plane: ControlPlaneArguments,
}
