//! The command line of `portico policy diff` and `portico policy show`.

use std::net::IpAddr;
use std::path::PathBuf;

use ::policy::diff::Risk;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};

use crate::arguments::Format;

/// Options of `portico policy diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
What is enforced is compared, not how it is written. A bundle is one of
  DIR             a directory
  git:REV         the directory of the other bundle, as it was at that revision
  git:REV:PATH    a path of this repository at that revision

Examples:
  portico policy diff --running                      what would change if I deploy ./policies?
  portico policy diff --running --state-dir state    the same, of a gateway that runs by itself
  portico policy diff git:HEAD                       what did I change since the last commit?
  portico policy diff git:v1.2 policies --env all
  portico policy diff before after --fail-on high    for CI: exit 1 only for high and critical
  portico policy diff --from production --to development
                                                     what does development relax?

Exit codes: 0 no difference; 1 differences; 2 a bundle that cannot be read or does not compile.")]
pub(crate) struct PolicyDiffArguments {
    /// The old bundle and the new one; without a new one, ./policies.
    #[arg(value_name = "BUNDLE", num_args = 0..=2)]
    pub(crate) bundles: Vec<String>,
    #[command(flatten)]
    pub(crate) running: RunningArguments,
    /// The environment of the old side, when the two differ; without a new bundle, both sides are one bundle.
    #[arg(long, value_name = "ENV", requires = "to", conflicts_with = "env")]
    pub(crate) from: Option<String>,
    /// The environment of the new side.
    #[arg(long, value_name = "ENV", requires = "from")]
    pub(crate) to: Option<String>,
    /// The environment whose overlay counts, or `all` [default: that of the running system, APP_ENV, or production].
    #[arg(long, value_name = "ENV")]
    pub(crate) env: Option<String>,
    /// Exit 1 only when a difference has this risk or a higher one.
    #[arg(long, value_name = "RISK", value_parser = risks())]
    pub(crate) fail_on: Option<Risk>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

fn risks() -> impl clap::builder::TypedValueParser<Value = Risk> {
    PossibleValuesParser::new(Risk::ALL.map(Risk::as_str)).map(|word| {
        Risk::ALL
            .into_iter()
            .find(|risk| risk.as_str() == word)
            .unwrap_or(Risk::Info)
    })
}

/// Below the list of questions.
pub(crate) const SHOW_EXAMPLES: &str = "\
Examples:
  portico policy show routes --auth none       which routes can be reached without a token, and why?
  portico policy show limits --route login     what limits log-in?
  portico policy show scopes                   what may a token with this scope do?
  portico policy show headers --route docs     what do answers of this route carry?
  portico policy show routes --client 10.1.2.3 what may this address call?
  portico policy show waivers                  which exceptions are there, and which end soon?
  portico policy show limits --running         what does the gateway enforce now?
  portico policy show limits --running --state-dir state
                                               the same, of a gateway that runs by itself

More questions, each with its command: docs/policy-questions.md.
Exit codes: 0 answered; 2 wrong usage, or a policy that cannot be read or does not compile.";

/// What can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyShowCommand {
    /// Who may call what? Which routes can be reached without a token, and why?
    Routes(ShowRoutesArguments),
    /// What limits these requests, how is it counted, and which line says so?
    Limits(ShowRouteArguments),
    /// Which headers do answers carry, and which never?
    Headers(ShowRouteArguments),
    /// Whose tokens are accepted, and what must be in them?
    Identity(ShowArguments),
    /// Which pages of other origins may read answers?
    Cors(ShowArguments),
    /// What may a token with this scope do?
    Scopes(ShowArguments),
    /// Which addresses are refused, and which routes are only for some?
    Addresses(ShowArguments),
    /// Where do requests go, who sees tokens, and how long is waited?
    Upstreams(ShowArguments),
    /// Where do clients arrive, under which names and with which TLS?
    Listeners(ShowArguments),
    /// Which exceptions are there, and which end soon?
    Waivers(ShowArguments),
}

/// What a gateway enforces, instead of a directory.
#[derive(Debug, Args)]
pub(crate) struct RunningArguments {
    /// The bundle that the gateway last put in force; for `diff` it is the old one.
    #[arg(long)]
    pub(crate) running: bool,
    /// With --running: data directory of the system that `portico up` runs.
    #[arg(long, value_name = "DIR", default_value = ".portico", requires = "running")]
    pub(crate) data_dir: PathBuf,
    /// With --running: `state_dir` of the settings of a gateway that runs by itself.
    #[arg(long, value_name = "DIR", requires = "running", conflicts_with = "data_dir")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// Options of every `portico policy show …`.
#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// The policy directory, or git:REV for ./policies at a revision [default: policies].
    #[arg(value_name = "DIR", conflicts_with = "running")]
    pub(crate) directory: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) running: RunningArguments,
    /// The environment whose overlay counts [default: that of the running system, APP_ENV, or production].
    #[arg(long, value_name = "ENV")]
    pub(crate) env: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// Options of a question that can be about one route.
#[derive(Debug, Args)]
pub(crate) struct ShowRouteArguments {
    /// Only this route, by its name.
    #[arg(long, value_name = "NAME")]
    pub(crate) route: Option<String>,
    #[command(flatten)]
    pub(crate) common: ShowArguments,
}

/// Options of `portico policy show routes`.
#[derive(Debug, Args)]
pub(crate) struct ShowRoutesArguments {
    /// Only routes for this provider, or `none` for those that anyone may call.
    #[arg(long, value_name = "PROVIDER", conflicts_with = "route")]
    pub(crate) auth: Option<String>,
    /// Everything that holds for this route, by its name.
    #[arg(long, value_name = "NAME")]
    pub(crate) route: Option<String>,
    /// Only routes that a client with this address may call.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "route")]
    pub(crate) client: Option<IpAddr>,
    #[command(flatten)]
    pub(crate) common: ShowArguments,
}
