//! The command line: every command, option and the help that teaches them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::argon2::Argon2Command;
use crate::breach::BreachCommand;
use crate::denials::{BlockCommand, RevokeCommand};
use crate::fleet::FleetCommand;
use crate::keys::{KekCommand, KeysCommand};
use crate::mail::MailCommand;
use crate::policy::{
    PolicyApproveArguments, PolicyHaltArguments, PolicyPublishArguments, PolicyRollbackArguments,
    RolloutArguments,
};
use crate::policy::{PolicyDiffArguments, PolicyShowCommand, RunningArguments, SHOW_EXAMPLES};
use crate::trust::TrustCommand;
use crate::user::UserCommand;

/// Portico: a bank's security gateway, its control plane and the core banking API behind it, in one binary.
#[derive(Debug, Parser)]
#[command(name = "portico", version, propagate_version = true, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  portico up                              a whole bank on this machine, and a tour of it
  portico policy check policies           is every policy file right?
  portico policy explain --path /api/v1/me  which rule decides this request?
  portico keys rotate                     sign with a new key from now on
  portico revoke subject usr_01JH…        their access tokens are worth nothing, within a second
  portico user end-sessions ada@bank.example  signed out everywhere: a phone is stolen
  portico secrets status                  where are the secrets, how old are they, what is to be done?
  portico doctor                          what is wrong here, and how to mend it
  portico prove                           does it keep its promises? a report for auditors

Exit codes: 0 done; 1 findings or failure; 2 wrong usage or unreadable input; 78 wrong settings or a secret that is
missing, all told at once.";

/// What portico can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this machine: PostgreSQL, core API, control plane and gateway.
    Up(UpArguments),
    /// Run the gateway: the only service that clients reach.
    Gateway(GatewayArguments),
    /// Run the control plane: signing keys and their rotation.
    ControlPlane(ServiceArguments),
    /// Run the core banking API behind the gateway.
    CoreApi(ServiceArguments),
    /// Make the database roles and apply the migrations that are missing.
    Migrate(MigrateArguments),
    /// Check policy files, and explain what they decide.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// See, rotate and revoke the keys that sign.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// See and change the key that private keys are sealed under.
    #[command(subcommand)]
    Kek(KekCommand),
    /// See how the gateways stand, and let one out or in.
    #[command(subcommand)]
    Fleet(FleetCommand),
    /// Say with an offline root which keys may sign for gateways.
    #[command(subcommand)]
    Trust(TrustCommand),
    /// Revoke tokens at every gateway, and take it back.
    #[command(subcommand)]
    Revoke(RevokeCommand),
    /// Block networks of clients at every gateway for a time.
    #[command(subcommand)]
    Block(BlockCommand),
    /// Help people who cannot sign in.
    #[command(subcommand)]
    User(UserCommand),
    /// See where secrets are, how old they are, and whether they can be had. Never a value.
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// Make and check files of breached passwords.
    #[command(subcommand)]
    Breach(BreachCommand),
    /// Find out what hashing a password may cost here.
    #[command(subcommand)]
    Argon2(Argon2Command),
    /// Read what a system in development would have sent.
    #[command(subcommand)]
    Mail(MailCommand),
    /// Print the OpenAPI document of the core API.
    Openapi,
    /// Look for what is wrong on this machine, and say how to mend it.
    Doctor(DoctorArguments),
    /// Prove Portico's claims on a system of its own, each with a control that must fail, and write a signed report.
    Prove(ProveArguments),
}

const UP_HELP: &str = "\
Everything is kept in the data directory: the database, every secret (made once, mode 0600), a development CA with a
certificate for localhost, the settings of each service and their logs. When all is ready, endpoints.json in it says
where everything is, and a tour to copy and paste is printed (and kept as tour.sh).

Without DATABASE_URL a private PostgreSQL cluster runs from this machine's binaries, on a unix socket only. With it,
that database is used; its user must be able to create roles, and it is of one system: a second one that runs on it, or
comes with another data directory, is refused. The services log in to it as portico_core and portico_control, with
passwords from the data directory, so that server must admit these roles with a password; one that does not work there
is set anew. portico_auditor, in endpoints.json, is yours to let in: it gets no password.

APP_ENV chooses the policy overlay: development (the default here), test or production.

Examples:
  portico up
  portico up --https-port 0 --http-port 0 --data-dir /tmp/second    a second one beside the first
  portico up --tail=gateway,warn                                    follow less
  GATEWAY__TELEMETRY__LEVEL=debug portico up                        any setting of a service, as a variable

Stop it with Ctrl-C: requests under way are answered first. A second Ctrl-C hurries.";

/// Options of `portico up`.
#[derive(Debug, Args)]
#[command(after_help = UP_HELP)]
pub(crate) struct UpArguments {
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = ".portico")]
    pub(crate) data_dir: PathBuf,
    /// Port for HTTPS; 0 picks a free one.
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    pub(crate) https_port: u16,
    /// Port for HTTP, which only redirects to HTTPS; 0 picks a free one.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) http_port: u16,
    /// Port kept for the operators' console; this version has none, so nothing listens there.
    #[arg(long, value_name = "PORT", default_value_t = 9443)]
    pub(crate) console_port: u16,
    /// Policy files [default: ./policies, or a copy of the shipped ones in the data directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,
    /// Which log lines to follow: services and a lowest level, such as `gateway,warn`; or `none`.
    #[arg(long, value_name = "FILTER", num_args = 0..=1, require_equals = true, default_value = "info", default_missing_value = "info")]
    pub(crate) tail: String,
}

/// Options of a service.
#[derive(Debug, Args)]
pub(crate) struct ServiceArguments {
    /// Settings file (YAML); variables such as CORE_API__DATABASE__MAX_CONNECTIONS override it.
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// Only read the settings, say everything that is wrong in them, and stop.
    #[arg(long)]
    pub(crate) check_settings: bool,
}

/// Options of `portico gateway`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  portico gateway --settings /etc/portico/gateway.yaml
  portico gateway upgrade --settings /etc/portico/gateway.yaml    replace the process that runs, without a gap

SIGTERM and SIGINT stop it: requests under way are answered first. Policies and certificates need no signal: their
files are watched."
)]
pub(crate) struct GatewayArguments {
    #[command(subcommand)]
    pub(crate) command: Option<GatewayCommand>,
    #[command(flatten)]
    pub(crate) service: ServiceArguments,
    /// The sockets of a running gateway come on standard input: that one passes this.
    #[arg(long, hide = true)]
    pub(crate) take_over: bool,
}

/// What can be done with a gateway that runs.
#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Replace the running gateway by a new process, from the program as it is on the disk now.
    Upgrade(UpgradeArguments),
}

/// Options of `portico gateway upgrade`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico gateway upgrade --settings /etc/portico/gateway.yaml
  portico gateway upgrade --settings .portico/config/gateway.yaml     a gateway that `portico up` runs
  systemctl reload portico-gateway                                    the same, through the unit in deploy/

The running gateway starts the new one as itself was started: the same program path, arguments and environment; the
settings file is read anew. The new one takes the listening sockets, and serves once it is ready; then the old one
accepts nothing more, answers what is under way, closes each connection after it, and ends. WebSockets live on for at
most `upgrade.drain_ms`, then they are closed with code 1012. Nothing is refused in between.

When the new one does not start, is late or dies, the old one keeps serving, and this says why. What is counted in this
process alone begins anew: limits without `count_in: store`, metrics, and what is known of upstreams.

Exit codes: 0 the new process serves; 1 the old one keeps serving; 2 wrong usage or unreadable settings.")]
pub(crate) struct UpgradeArguments {
    /// Settings file (YAML) of the running gateway: its `state_dir` says where to ask.
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
}

/// Options of `portico migrate`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  DATABASE_URL=postgresql://admin@db.example/portico portico migrate

The user must be able to create roles. Doing it twice changes nothing.")]
pub(crate) struct MigrateArguments {
    /// A file that holds the database's address, instead of the variable DATABASE_URL.
    #[arg(long, value_name = "FILE")]
    pub(crate) database_url_file: Option<PathBuf>,
}

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Check every policy file: exact positions, all findings at once.
    Check(PolicyCheckArguments),
    /// Run the cases of the policy: requests, and what must become of them.
    Test(PolicyTestArguments),
    /// Audit the values of a policy: what is weak, how to mend it, and what it scores.
    Audit(PolicyAuditArguments),
    /// Rewrite policy files in their canonical form; comments stay.
    Fmt(PolicyFmtArguments),
    /// Say what the policy decides for one request, phase by phase, and which line decided.
    Explain(Box<PolicyExplainArguments>),
    /// Print the JSON Schema of policy files, for editors.
    Schema,
    /// What would change if another bundle were deployed? The riskiest first.
    Diff(PolicyDiffArguments),
    /// What would publishing do: what changes, how risky it is, who must agree, which gateways in which phase?
    Plan(PolicyPublishArguments),
    /// Publish a policy to a fleet: tried, then to one gateway, a quarter, all; halted and taken back by itself.
    Publish(PolicyPublishArguments),
    /// Agree to somebody else's risky change, with a key of your own.
    Approve(PolicyApproveArguments),
    /// Go back to the policy that was in force before, everywhere at once.
    Rollback(PolicyRollbackArguments),
    /// Give up the roll-out under way; its gateways get the old policy back.
    Halt(PolicyHaltArguments),
    /// How far is the newest roll-out, and why does it wait? Exit 1 when it was halted.
    Status(RolloutArguments),
    /// What was published before, by whom, and what became of it.
    History(RolloutArguments),
    /// What is in the memory of each gateway, beside what should be? Exit 1 when something else is.
    Drift(RolloutArguments),
    /// Answer a question about the policy, with the lines that decide.
    #[command(subcommand, after_help = SHOW_EXAMPLES)]
    Show(PolicyShowCommand),
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
}

/// How to print findings about lines of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FindingsFormat {
    /// For people.
    Human,
    /// For programs.
    Json,
    /// SARIF 2.1.0, for code hosts and editors.
    Sarif,
}

impl From<Format> for FindingsFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Human => Self::Human,
            Format::Json => Self::Json,
        }
    }
}

/// Options of `portico policy check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico policy check                        ./policies, for every environment
  portico policy check policies --env production
  portico policy check policies --format json
  portico policy check policies --format sarif > policies.sarif

It runs the same code that the gateway enforces with. A waiver whose last day is over is an error here, one that ends
within 14 days a warning. Names in tests/ are looked up in every environment, whichever is chosen.

Exit codes: 0 right, warnings or not; 1 findings; 2 wrong usage, or a directory or file that cannot be read.")]
pub(crate) struct PolicyCheckArguments {
    /// The policy directory.
    #[arg(value_name = "DIR", default_value = "policies")]
    pub(crate) directory: PathBuf,
    /// How to print findings.
    #[arg(long, value_enum, default_value_t = FindingsFormat::Human)]
    pub(crate) format: FindingsFormat,
    /// The environment whose overlay counts [default: APP_ENV, or all of them].
    #[arg(long, value_name = "ENV")]
    pub(crate) env: Option<String>,
}

/// Options of `portico policy test`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico policy test                         ./policies, every case in its environments
  portico policy test policies --filter=login
  portico policy test policies --format json

Cases stand in tests/ of the policy directory; docs/policy-tests.md says how to write them.
Nothing is sent anywhere: time, counters and tokens are what a case says.
Every route needs a case that permits it and one that denies it.")]
pub(crate) struct PolicyTestArguments {
    /// The policy directory.
    #[arg(value_name = "DIR", default_value = "policies")]
    pub(crate) directory: PathBuf,
    /// Run only the cases of this environment [default: all].
    #[arg(long, value_name = "ENV")]
    pub(crate) env: Option<String>,
    /// Run only cases with this text in their name or file.
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// Options of `portico policy audit`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico policy audit                        ./policies as production runs them
  portico policy audit --fail-on medium       for CI: medium findings fail too
  portico policy audit --format sarif > audit.sarif

A finding goes away by mending it, or by an entry in `waivers` with a reason and a last day.
Exit codes: 0 nothing is open at --fail-on or above; 1 something is; 2 the policy is unreadable or does not compile.")]
pub(crate) struct PolicyAuditArguments {
    /// The policy directory.
    #[arg(value_name = "DIR", default_value = "policies")]
    pub(crate) directory: PathBuf,
    /// The environment whose overlay counts [default: APP_ENV, or production].
    #[arg(long, value_name = "ENV")]
    pub(crate) env: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = FindingsFormat::Human)]
    pub(crate) format: FindingsFormat,
    /// The lowest severity that fails.
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = FailOn::High)]
    pub(crate) fail_on: FailOn,
}

/// The lowest severity that makes an audit fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Anyone can do harm now.
    Critical,
    /// An attack is possible that the policy could stop.
    High,
    /// An attack becomes easier.
    Medium,
    /// A layer of defence is missing.
    Low,
    /// Worth knowing.
    Info,
}

/// Options of `portico policy fmt`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico policy fmt                          ./policies, overlays and cases too
  portico policy fmt --check                  change nothing, show what would change
  portico policy fmt policies/floor.yaml
  portico policy fmt - < floor.yaml           for editors: from standard input to standard output

A file that is not valid YAML is left as it is. Nothing is written when nothing changes.
Exit 1 when something would change, or was left as it is.")]
pub(crate) struct PolicyFmtArguments {
    /// Policy directories and files, or `-` for standard input.
    #[arg(value_name = "DIR|FILE", default_value = "policies")]
    pub(crate) paths: Vec<PathBuf>,
    /// Change nothing; show what would change.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Options of `portico policy explain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico policy explain --path /api/v1/me
  portico policy explain --method POST --path /api/v1/transfers --subject usr_1 --scope transfers:write
  portico policy explain --method POST --path /api/v1/auth/login --body '{\"email\":\"a@b.example\"}' --exhausted
  portico policy explain --curl \"curl -H 'Authorization: Bearer $token' https://api.bank.example/api/v1/me\"
  portico policy explain --path /api/v1/payrolls --listener partners --client-certificate spiffe://bank.example/payroll
  pbpaste | portico policy explain --curl -      a command copied from a browser or from API documents
  grep req_01 gateway.log | portico policy explain --running --log-line -
                                                 what happened to the request in this line of the gateway's log?

Nothing is sent anywhere. Counters are what the options say. A token is read and judged by its provider's rules, but its
signature is not checked, and it is never printed. Of the head, only what its bytes tell is left to the gateway.

Exit codes: 0 explained, whatever was decided; 2 wrong usage, or a policy that cannot be read or does not compile.")]
pub(crate) struct PolicyExplainArguments {
    /// Method of the request.
    #[arg(long, default_value = "GET")]
    pub(crate) method: String,
    /// Path and query, as a client would send them.
    #[arg(long, required_unless_present_any = ["curl", "log_line"])]
    pub(crate) path: Option<String>,
    /// The request as a curl command; `-` reads it from standard input, where no list of processes shows its token.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["method", "path", "headers", "host", "body", "http"])]
    pub(crate) curl: Option<String>,
    /// A line of the gateway's access log, replayed as far as it tells of the request; `-` reads it from standard input.
    #[arg(long, value_name = "JSON", conflicts_with_all = [
        "method", "path", "headers", "host", "body", "http", "curl", "client", "listener", "subject", "scopes", "exhausted",
    ])]
    pub(crate) log_line: Option<String>,
    /// Header line, `Name: value`; may be given several times.
    #[arg(long = "header", short = 'H', value_name = "LINE")]
    pub(crate) headers: Vec<String>,
    /// Host that the client asks for [default: the policy's first].
    #[arg(long)]
    pub(crate) host: Option<String>,
    /// Body, where a limit is keyed by a part of it.
    #[arg(long)]
    pub(crate) body: Option<String>,
    /// Address of the client.
    #[arg(long, default_value = "203.0.113.7")]
    pub(crate) client: IpAddr,
    /// Listener that the request comes in at [default: the one on the port of the URL, else the policy's first].
    #[arg(long)]
    pub(crate) listener: Option<String>,
    /// The request comes in clear, not over TLS.
    #[arg(long)]
    pub(crate) http: bool,
    /// Whom a good token speaks for; without it, what the token in the request says.
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// Scope in that token; may be given several times.
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        value_delimiter = ',',
        requires = "subject"
    )]
    pub(crate) scopes: Vec<String>,
    /// URI or DNS name in the client's certificate, verified by the `client_authority` of the listener; may be given several
    /// times.
    #[arg(long = "client-certificate", value_name = "NAME")]
    pub(crate) client_certificate: Vec<String>,
    /// A rate limit that has no room left, by name; without a name, all of the route's own.
    #[arg(long, value_name = "LIMIT", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) exhausted: Option<String>,
    /// The policy directory, or git:REV for it as it was at a revision [default: policies].
    #[arg(long, value_name = "DIR", conflicts_with = "running")]
    pub(crate) policies: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) running: RunningArguments,
    /// The environment whose overlay counts [default: that of the log line, of the running system, APP_ENV, production].
    #[arg(long, value_name = "ENV")]
    pub(crate) env: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// What can be asked about secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretsCommand {
    /// Fetch every secret that a settings file refers to, and say what is missing, without starting anything.
    Check(SecretsCheckArguments),
    /// Show the secrets of running services: where they are, how old, and what to do about them.
    Status(SecretsStatusArguments),
    /// Encrypt the plain file of a secret with age, for a reference `age://`.
    Seal(SecretsSealArguments),
}

/// Options of `portico secrets seal`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico secrets seal /etc/portico/core-db --identity /etc/portico/age-identity
  portico secrets seal /etc/portico/core-db --identity /etc/portico/age-identity --remove

It writes FILE.age beside each file, opens it again, and prints the reference for the settings. The identity, which opens
every such file, is made when it is not there: keep a copy of it in another place.

Exit codes: 0 all are sealed; 2 a file that cannot be read or written, or FILE.age is there already.")]
pub(crate) struct SecretsSealArguments {
    /// Plain files, each a secret or several.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The file with the age identity that opens them: `secrets.age.identity_file` of the settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: PathBuf,
    /// Remove each plain file once it is sealed. What a disk keeps of it in copies and snapshots stays.
    #[arg(long)]
    pub(crate) remove: bool,
}

/// Options of `portico secrets check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico secrets check --settings /etc/portico/core-api.yaml --service core-api
  portico secrets check --settings core-api.yaml --format json

It asks Vault, AWS and every file as the service would, with the section `secrets` of the same file, and prints no value.
Run it as the service's user, on its machine: others may be refused what it gets.

Exit codes: 0 all can be had; 1 some cannot; 2 a file that cannot be read; 78 the section `secrets` is wrong.")]
pub(crate) struct SecretsCheckArguments {
    /// Settings file of a service.
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: PathBuf,
    /// Name of the service, whose variables override the file.
    #[arg(long, value_name = "SERVICE", default_value = "core-api", value_parser = ["core-api", "control-plane", "gateway"])]
    pub(crate) service: String,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// Options of `portico secrets status`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico secrets status                              of the system in ./.portico
  portico secrets status --address 127.0.0.1:9902     of the service with this private address; may be given several times
  portico secrets status --format json

Exit codes: 0 nothing is to be done; 1 something is; 2 wrong usage, or nothing runs there.")]
pub(crate) struct SecretsStatusArguments {
    /// Data directory of the running system.
    #[arg(long, value_name = "DIR", default_value = ".portico")]
    pub(crate) data_dir: PathBuf,
    /// Private address of a service, instead of those of the data directory.
    #[arg(long = "address", value_name = "ADDRESS")]
    pub(crate) addresses: Vec<SocketAddr>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
}

/// Options of `portico doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Exit 1 when something fails; a warning alone exits 0.")]
pub(crate) struct DoctorArguments {
    /// Data directory to look at.
    #[arg(long, value_name = "DIR", default_value = ".portico")]
    pub(crate) data_dir: PathBuf,
    /// Policy files, before a system has run here.
    #[arg(long, value_name = "DIR", default_value = "policies")]
    pub(crate) policies: PathBuf,
    /// Port for HTTPS that `up` would use.
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    pub(crate) https_port: u16,
    /// Port for HTTP that `up` would use.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub(crate) http_port: u16,
}

/// Options of `portico prove`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each claim is checked twice: on the system as it is, where the check must be green, and after deliberate damage, where
the same check must be red. Nothing of yours is touched: it starts a Portico and a PostgreSQL of its own and removes them.

Examples:
  portico prove                               all claims; the report is portico-proof/report.html
  portico prove --claim rotation              one of them
  portico prove --verify portico-proof/report.json --trusted-key SHA256:…

What `signed` means: report.json.sig holds a signature over the bytes of report.json and the public key it was made
with. Anyone can sign a report with a key of their own, so the signature alone says only that the two files fit. Learn
the fingerprint of the key from whoever ran the proof, by another way than the report, and give it as --trusted-key.")]
pub(crate) struct ProveArguments {
    /// Folder for the report: report.html, report.json and its signature.
    #[arg(long, value_name = "DIR", default_value = "portico-proof")]
    pub(crate) out: PathBuf,
    /// Prove only this claim (repeatable).
    #[arg(long = "claim", value_name = "ID")]
    pub(crate) claims: Vec<String>,
    /// List the claims and stop.
    #[arg(long)]
    pub(crate) list: bool,
    /// Policy files that the system under proof enforces [default: the shipped ones].
    #[arg(long, value_name = "DIR")]
    pub(crate) policies: Option<PathBuf>,
    /// Transfers that the durability claim makes.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(crate) transfers: u32,
    /// Clients that make them in parallel.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..=512))]
    pub(crate) clients: u32,
    /// Ed25519 key that signs the report (PKCS#8); made when it does not exist.
    #[arg(long, value_name = "FILE", default_value = ".portico/secrets/report-key")]
    pub(crate) signing_key: PathBuf,
    /// Check the signature of a report that was written before, and do nothing else.
    #[arg(long, value_name = "REPORT.JSON", conflicts_with_all = ["claims", "list"])]
    pub(crate) verify: Option<PathBuf>,
    /// With --verify: the fingerprint of the only key that is trusted; a report signed by another is refused.
    #[arg(long, value_name = "FINGERPRINT", requires = "verify")]
    pub(crate) trusted_key: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_names_of_keys_and_tokens_may_begin_with_a_hyphen() {
        for kid in ["-Oq3", "--q3", "-h_3", "-V3-"] {
            let parsed = Arguments::try_parse_from(["portico", "keys", "revoke", "--kid", kid]).unwrap();
            let Command::Keys(KeysCommand::Revoke(key)) = parsed.command else {
                panic!("not a key")
            };
            assert_eq!(key.kid, kid);
        }
        let words = [
            "portico",
            "revoke",
            "key",
            "-Oq3",
            "--issuer",
            "https://idp.example",
        ];
        let parsed = Arguments::try_parse_from(words).unwrap();
        let Command::Revoke(RevokeCommand::Key(revoked)) = parsed.command else {
            panic!("not a key")
        };
        assert_eq!(
            (&*revoked.name, &*revoked.issuer),
            ("-Oq3", "https://idp.example")
        );
    }

    #[test]
    fn tail_takes_a_filter_only_with_an_equals_sign() {
        let parse = |words: &[&str]| {
            let Command::Up(up) = Arguments::try_parse_from(words).unwrap().command else {
                panic!("not up")
            };
            up.tail
        };
        assert_eq!(parse(&["portico", "up"]), "info");
        assert_eq!(parse(&["portico", "up", "--tail"]), "info");
        assert_eq!(parse(&["portico", "up", "--tail=gateway,warn"]), "gateway,warn");
    }
}
