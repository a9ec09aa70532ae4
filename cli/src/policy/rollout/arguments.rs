//! The command line of what goes out to a fleet: `portico policy plan|publish|approve|rollback|halt|status|history|drift`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fleet::Position;

use crate::arguments::Format;
use crate::control_plane::ControlPlaneArguments;

/// A change of the policy.
#[derive(Debug, Args)]
pub(crate) struct ChangeArguments {
    /// The policy directory.
    #[arg(value_name = "DIR", default_value = "policies")]
    pub(crate) directory: PathBuf,
    /// The environment of the fleet that it is meant for; a control plane of another one refuses it.
    #[arg(long, value_name = "ENV")]
    pub(crate) environment: String,
    /// What the change is called, such as a ticket or a commit; the same bundle under the same id goes out once.
    #[arg(long, value_name = "ID")]
    pub(crate) change_id: String,
    /// Who has made it [default: who is at the keyboard].
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
}

/// How it goes out.
#[derive(Debug, Args)]
pub(crate) struct WayArguments {
    /// Your key: sign as the author, which is asked wherever a second person must agree.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// What `portico policy approve` has made; may be given several times.
    #[arg(long = "approval", value_name = "FILE")]
    pub(crate) approvals: Vec<PathBuf>,
    /// The phases, `all` last [default: shadow,canary,quarter,all].
    #[arg(
        long,
        value_enum,
        value_name = "PHASE",
        value_delimiter = ',',
        conflicts_with = "at_once"
    )]
    pub(crate) phases: Vec<PhaseWord>,
    /// To all gateways at once, without a trial.
    #[arg(long)]
    pub(crate) at_once: bool,
    /// How many more or fewer of 100 requests are meant to be refused, such as +2% or -0.5%; may be given twice.
    #[arg(long = "expect-denials", value_name = "SHARE", allow_hyphen_values = true, value_parser = share)]
    pub(crate) expect_denials: Vec<Share>,
    /// Halt the roll-out under way, and take its place; a second person must agree.
    #[arg(long)]
    pub(crate) emergency: bool,
    /// Publish what was halted last; under another --change-id.
    #[arg(long)]
    pub(crate) again: bool,
}

/// Options of `portico policy plan` and `portico policy publish`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico policy plan --environment production --change-id BANK-471
                                      what would change, how risky, which gateways in which phase?
  portico policy publish --environment production --change-id BANK-471
                                      tried beside the old one, then one gateway in twenty, a quarter, all
  portico policy publish --environment production --change-id BANK-471 --author ada --key ada.pem --approval grace.json
                                      a second person agrees, and the author proves to be another one
  portico policy publish --environment production --change-id BANK-472 --phases canary,all --expect-denials +2%
                                      two more of 100 requests may be refused
  portico policy publish --environment production --change-id FIX-9 --emergency --at-once --key ada.pem --approval grace.json

The compiler, the cases of the bundle and the audit of the control plane decide whether it goes out. It is halted by itself
and taken back when a gateway refuses it or falls silent, when more requests fail, or when more or fewer are refused than
declared. Asked twice, it goes out once; what was halted goes out again under another id, with --again.

Exit codes: 0 planned, or on its way; 1 refused, or halted before; 2 wrong usage or unreadable input.")]
pub(crate) struct PolicyPublishArguments {
    #[command(flatten)]
    pub(crate) change: ChangeArguments,
    #[command(flatten)]
    pub(crate) way: WayArguments,
    #[command(flatten)]
    pub(crate) control_plane: ControlPlaneArguments,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// Options of `portico policy approve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico policy approve --new-key grace.pem
                                      once: a key of your own, and the line for `policies.approvers`
  portico policy approve --key grace.pem --approver grace --author ada --environment production --change-id BANK-471 > grace.json

Read the change before you sign it: `portico policy diff`. What is signed are the files and cases as they are here, the
change, the environment and the author; with one byte changed, the approval counts for nothing. No control plane is asked.

Exit codes: 0 signed; 1 the bundle is not one to sign; 2 wrong usage or unreadable input.")]
pub(crate) struct PolicyApproveArguments {
    /// Make a key in this file, and sign nothing.
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub(crate) new_key: Option<PathBuf>,
    /// Your key.
    #[arg(long, value_name = "FILE", required_unless_present = "new_key")]
    pub(crate) key: Option<PathBuf>,
    /// Your name, as in the file of approvers.
    #[arg(long, value_name = "NAME", required_unless_present = "new_key")]
    pub(crate) approver: Option<String>,
    /// Who has made the change.
    #[arg(long, value_name = "NAME", required_unless_present = "new_key")]
    pub(crate) author: Option<String>,
    /// The environment that it is meant for.
    #[arg(long, value_name = "ENV", required_unless_present = "new_key")]
    pub(crate) environment: Option<String>,
    /// What the change is called.
    #[arg(long, value_name = "ID", required_unless_present = "new_key")]
    pub(crate) change_id: Option<String>,
    /// The policy directory.
    #[arg(value_name = "DIR", default_value = "policies")]
    pub(crate) directory: PathBuf,
}

/// Options of `portico policy rollback`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico policy rollback                 halt what is under way; without that, back to the policy before
  portico policy rollback --to 1.118      back to what stood at this position: `portico policy history`

It goes to all gateways at once, as a new position with the old content. Right after a rollback or a halt, which has put
the policy before in force, going further back wants --to. What was in force just before needs nobody's consent. What is older is refused when its risk wants a second person: publish its files with `portico policy publish --at-once`.")]
pub(crate) struct PolicyRollbackArguments {
    /// The position whose content is wanted.
    #[arg(long, value_name = "POSITION")]
    pub(crate) to: Option<Position>,
    /// Who goes back [default: who is at the keyboard].
    #[arg(long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    #[command(flatten)]
    pub(crate) control_plane: ControlPlaneArguments,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// Options of `portico policy halt`.
#[derive(Debug, Args)]
pub(crate) struct PolicyHaltArguments {
    /// Why, for whoever reads the history.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) control_plane: ControlPlaneArguments,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// Options of `portico policy status|history|drift`.
#[derive(Debug, Args)]
pub(crate) struct RolloutArguments {
    #[command(flatten)]
    pub(crate) control_plane: ControlPlaneArguments,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// A phase of a roll-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PhaseWord {
    /// The canaries judge a copy of each request with it; it decides nothing.
    Shadow,
    /// One gateway in twenty, at least one.
    Canary,
    /// A quarter.
    Quarter,
    /// Every gateway.
    All,
}

impl PhaseWord {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Quarter => "quarter",
            Self::All => "all",
        }
    }
}

/// By how much the share of refused requests is meant to change, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    Rise(u32),
    Fall(u32),
}

/// `+2%`, `-0.5%`: a sign, and tenths of a percent at the finest.
fn share(text: &str) -> Result<Share, String> {
    let wrong = || "a share is written +2% or -0.5%, from 0.1% to 100%".to_owned();
    let (is_rise, digits) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(digits), _) => (true, digits),
        (_, Some(digits)) => (false, digits),
        _ => return Err(wrong()),
    };
    let digits = digits.strip_suffix('%').ok_or_else(wrong)?;
    let (whole, tenths) = digits.split_once('.').unwrap_or((digits, "0"));
    let number = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| part.parse::<u32>().ok())
            .flatten()
    };
    let (whole, tenths) = (
        number(whole).ok_or_else(wrong)?,
        number(tenths).filter(|_| tenths.len() == 1).ok_or_else(wrong)?,
    );
    let thousandths = whole.saturating_mul(10).saturating_add(tenths);
    match (1..=1_000).contains(&thousandths) {
        true if is_rise => Ok(Share::Rise(thousandths)),
        true => Ok(Share::Fall(thousandths)),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_a_sign_and_a_percent_sign() {
        assert_eq!(share("+2%"), Ok(Share::Rise(20)));
        assert_eq!(share("-0.5%"), Ok(Share::Fall(5)));
        assert_eq!(share("+100%"), Ok(Share::Rise(1_000)));
        for wrong in [
            "2%", "+2", "+%", "+0%", "+100.1%", "+1.25%", "++2%", "+-2%", "+1.%",
        ] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
