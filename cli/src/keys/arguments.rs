//! The command line of `portico keys …` and `portico kek …`.

use clap::{Args, Subcommand};
use keyring::RingName;

use crate::control_plane::AskArguments;

/// What can be done with signing keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// List the keys of a ring, with their states.
    List(RingArguments),
    /// Say of every ring what signs, what signs next, and what a rotation waits for.
    Status(AskArguments),
    /// List what was done to a ring, when, by whom and why.
    History(RingArguments),
    /// Sign with the standby key from now on; the old key verifies until its tokens have expired.
    Rotate(RingArguments),
    /// Revoke a key at once and for ever: it is stolen. In the place of the active key the standby signs.
    Revoke(KeyArguments),
    /// Take a rotation back: a retiring key signs again, as soon as every verifier knows.
    Reinstate(KeyArguments),
    /// Set aside a standby that has signed nothing; another one is published.
    Abort(KeyArguments),
}

const KEYS_HELP: &str = "\
States: published (every verifier learns it: the standby), active (signs), retiring (verifies only), retired, aborted,
revoked. A rotation refuses no token that was good before it, and waits until every verifier knows the next key.

Examples:
  portico keys status
  portico keys rotate --ring access
  portico keys history --ring access --format json";

/// Options of a command about a ring.
#[derive(Debug, Args)]
#[command(after_help = KEYS_HELP)]
pub(crate) struct RingArguments {
    /// The ring: access, stepup, bundle, audit or webhook.
    #[arg(long, value_name = "RING", default_value = "access")]
    pub(crate) ring: RingName,
    #[command(flatten)]
    pub(crate) ask: AskArguments,
}

const KEY_HELP: &str = "\
Which key: `portico keys list --ring …` shows their kids.

Examples:
  portico keys revoke --ring access --kid 4Fn…xQ --reason \"found in a dump, ticket 4711\"
  portico keys reinstate --ring access --kid 4Fn…xQ        within the rollback window, 11 minutes by default

A revoked key never comes back, its valid tokens are refused, and their owners log in again.
Doing the same again changes nothing.";

/// Options of a command about one key.
#[derive(Debug, Args)]
#[command(after_help = KEY_HELP)]
pub(crate) struct KeyArguments {
    /// The ring: access, stepup, bundle, audit or webhook.
    #[arg(long, value_name = "RING", default_value = "access")]
    pub(crate) ring: RingName,
    /// The kid of the key.
    // One in 64 begins with a hyphen: it is base64url.
    #[arg(long, value_name = "KID", allow_hyphen_values = true)]
    pub(crate) kid: String,
    /// Why, for the audit record.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) ask: AskArguments,
}

/// What can be done with the key-encryption key.
#[derive(Debug, Subcommand)]
#[command(after_help = KEK_HELP)]
pub(crate) enum KekCommand {
    /// List the versions, and how many private keys are sealed under each.
    Status(AskArguments),
    /// Seal with the newest version of the settings from now on; older ones open what they sealed.
    Rotate(AskArguments),
    /// Bring every private key to the version that seals, batch by batch; after a kill it goes on where it stopped.
    Rewrap(RewrapArguments),
    /// End a version under which nothing is sealed any more.
    Retire(RetireArguments),
    /// List what was done to the versions, when, and by whom.
    History(AskArguments),
}

const KEK_HELP: &str = "\
The way from one key-encryption key to the next:
  head -c 32 /dev/urandom > kek-2                     and into `keks` of the settings of control-plane and core-api:
                                                      keks: [{version: 2, secret: file:/path/to/kek-2}]
  (restart both; `portico up` takes every secrets/kek-<version> of its data directory by itself)
  portico kek rotate
  portico kek rewrap
  portico kek retire 1                                then remove the old secret from the settings, and destroy it
                                                      when no backup needs it any more";

/// Options of `portico kek rewrap`.
#[derive(Debug, Args)]
pub(crate) struct RewrapArguments {
    /// Keys of one transaction, 1 to 5000.
    #[arg(long, value_name = "KEYS", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub(crate) batch: u16,
    #[command(flatten)]
    pub(crate) ask: AskArguments,
}

/// Options of `portico kek retire`.
#[derive(Debug, Args)]
pub(crate) struct RetireArguments {
    /// The version to end.
    #[arg(value_name = "VERSION")]
    pub(crate) retired: u32,
    #[command(flatten)]
    pub(crate) ask: AskArguments,
}
