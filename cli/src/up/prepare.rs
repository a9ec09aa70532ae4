//! Everything that can be known to be wrong before anything is started.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ::policy::Plan;
use anyhow::{Context as _, bail};
use service_runtime::clock::Clock;
use service_runtime::settings::{Environment, variable};

use super::certificates::Leaf;
use super::logs::Terminal;
use super::secrets::Secrets;
use super::{certificates, fleet, ports, secrets, survivors};
use crate::arguments::UpArguments;
use crate::data_directory::DataDirectory;
use crate::policy;

/// The longest socket name in the services' socket directory, with room for the name it is made under.
const LONGEST_SOCKET: &str = "control-plane.4194304.tmp";

/// A data directory that is ready for a start, and held until this is dropped.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) directory: DataDirectory,
    pub(super) environment: Environment,
    pub(super) secrets: Secrets,
    /// `DATABASE_URL`, when a database is given.
    pub(super) given_database: Option<String>,
    pub(super) socket_directory: PathBuf,
    pub(super) policies: PathBuf,
    pub(super) ca_cert: PathBuf,
    pub(super) https: SocketAddr,
    pub(super) http: Option<SocketAddr>,
    /// `<listener>.<http|https>` → address.
    pub(super) listen: BTreeMap<String, SocketAddr>,
    /// Where the control plane tells its gateway what is stated.
    pub(super) members: SocketAddr,
    _lock: File,
}

pub(super) async fn prepare(
    arguments: &UpArguments,
    environment: Environment,
    terminal: &Terminal,
) -> anyhow::Result<Prepared> {
    let directory = DataDirectory::make(&arguments.data_dir)?;
    let lock = directory.lock()?;
    let policies = policy_directory(arguments.policies.as_deref(), &directory, terminal)?;
    let plan = compile(&policies, environment)?;
    survivors::stop(&directory, terminal).await;

    let listener = plan.listeners().first().context("the policy has no listener")?;
    let (https, held_https) = ports::reserve(arguments.https_port, "--https-port")?;
    let mut listen = BTreeMap::from([(format!("{}.https", listener.name), https)]);
    let (mut http, mut held_http) = (None, None);
    if listener.http.is_some() {
        let (address, held) = ports::reserve(arguments.http_port, "--http-port")?;
        listen.insert(format!("{}.http", listener.name), address);
        http = Some(address);
        held_http = Some(held);
    }
    let (members, held_members) = ports::reserve(0, "another start")?;
    // All were held at once, so they differ; the services take them soon.
    drop((held_https, held_http, held_members));

    let secrets = secrets::prepare(&directory)?;
    let names: BTreeSet<String> = plan
        .listeners()
        .iter()
        .flat_map(|listener| listener.https.certificates.clone())
        .collect();
    let servers: Vec<Leaf> = names.into_iter().map(Leaf::Server).collect();
    let now = Clock::system().now();
    let ca_cert = certificates::prepare(&directory.tls(), &servers, now)?;
    certificates::prepare(&directory.fleet(), &fleet::members(), now)?;
    let socket_directory = database::socket_directory::choose(&directory.run(), LONGEST_SOCKET, None)?;
    Ok(Prepared {
        environment,
        secrets,
        given_database: variable("DATABASE_URL").filter(|url| !url.is_empty()),
        socket_directory,
        policies,
        ca_cert,
        https,
        http,
        listen,
        members,
        directory,
        _lock: lock,
    })
}

/// The directory that was asked for, or `./policies`, or a copy of the shipped ones that is made once.
fn policy_directory(
    chosen: Option<&Path>,
    directory: &DataDirectory,
    terminal: &Terminal,
) -> anyhow::Result<PathBuf> {
    let policies = match chosen {
        Some(chosen) => chosen.to_owned(),
        None if Path::new("policies").is_dir() => PathBuf::from("policies"),
        None => {
            let copy = directory.policies();
            if !copy.exists() {
                policy::write_shipped(&copy)?;
                terminal.say(&format!(
                    "the shipped policies are now in {} to edit",
                    copy.display()
                ));
            }
            copy
        }
    };
    policies
        .canonicalize()
        .with_context(|| format!("no policies at {}", policies.display()))
}

fn compile(policies: &Path, environment: Environment) -> anyhow::Result<Plan> {
    let files = policy::read(policies)?;
    match ::policy::compile(&files, environment.as_str()) {
        Ok(plan) => Ok(plan),
        Err(findings) => bail!(
            "the policy in {} is wrong, so nothing is started:\n{}",
            policies.display(),
            ::policy::render::human(&findings, &files).trim_end()
        ),
    }
}
