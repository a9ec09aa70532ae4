//! The options of `portico revoke` and `portico block`.

use clap::{Args, Subcommand};

use super::seconds;
use crate::arguments::Format;
use crate::control_plane::{AskArguments, ControlPlaneArguments};

/// What can be revoked.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  portico revoke token tok_01JH… --reason 'pasted into a chat'
  portico revoke subject usr_01JH…               every token of this person that was issued until now
  portico revoke client reports-app --issuer https://idp.example
  portico revoke key KID --issuer https://idp.example --for 30d
  portico revoke list
  portico revoke undo 17

Gateways follow within a second; `portico fleet status` shows which do. The core refuses a session that it ended itself
at once, whatever a gateway knows. For a stolen key of Portico's own there is `portico keys`.")]
pub(crate) enum RevokeCommand {
    /// One token, by its `jti`.
    Token(RevokeArguments),
    /// The tokens of one session, by their `sid`.
    Session(RevokeArguments),
    /// The tokens of one subject that were issued until now, by their `sub`.
    Subject(RevokeArguments),
    /// The tokens of one client that were issued until now, by their `client_id` or `azp`.
    Client(RevokeArguments),
    /// The tokens of one key of an issuer, by their `kid`.
    Key(RevokeArguments),
    /// List what is revoked.
    List(AskArguments),
    /// Take a revocation back, by the id that the list shows.
    Undo(UndoArguments),
}

/// Options of `portico revoke token|session|subject|client|key`.
#[derive(Debug, Args)]
pub(crate) struct RevokeArguments {
    /// The `jti`, `sid`, `sub`, `client_id` or `kid`, exactly as tokens have it.
    #[arg(value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) name: String,
    /// The `iss` of the tokens.
    #[arg(long, value_name = "URL", default_value = "https://api.bank.example")]
    pub(crate) issuer: String,
    /// For how long: not less than tokens live. Afterwards they have expired by themselves.
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = seconds)]
    pub(crate) for_s: u32,
    /// Of a subject or a client: the last moment of issue that is meant, Unix seconds [default: now].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) issued_until: Option<i64>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) control_plane: ControlPlaneArguments,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// Options of `portico revoke undo`.
#[derive(Debug, Args)]
pub(crate) struct UndoArguments {
    /// The id of the revocation.
    #[arg(value_name = "ID")]
    pub(crate) id: u64,
    #[command(flatten)]
    pub(crate) control_plane: ControlPlaneArguments,
}

/// What can be done with blocked networks.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  portico block add 203.0.113.0/24 --for 2h --reason 'password guessing'
  portico block add 203.0.113.7 --for 15m
  portico block list
  portico block remove 203.0.113.0/24

Gateways refuse clients from there within a second, and cut nothing that is under way. A block always ends: what is to
stay belongs into the policy, `floor.deny_from`.")]
pub(crate) enum BlockCommand {
    /// Block a network, or give its block another end.
    Add(BlockArguments),
    /// Take a block back.
    Remove(UnblockArguments),
    /// List what is blocked.
    List(AskArguments),
}

/// Options of `portico block add`.
#[derive(Debug, Args)]
pub(crate) struct BlockArguments {
    /// The network, `203.0.113.0/24`, or one address.
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,
    /// For how long.
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    pub(crate) for_s: u32,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) control_plane: ControlPlaneArguments,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// Options of `portico block remove`.
#[derive(Debug, Args)]
pub(crate) struct UnblockArguments {
    /// The network, exactly as the list shows it.
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,
    #[command(flatten)]
    pub(crate) control_plane: ControlPlaneArguments,
}
