//! `portico secrets check|status|seal`: where secrets are and what is wrong with them. Prints references, never values.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use http::Method;
use secrets::{Resolved, SourceStatus};
use serde_json::json;
use service_runtime::clock::Clock;
use service_runtime::settings::load_secrets;

use crate::arguments::{
    Format, SecretsCheckArguments, SecretsCommand, SecretsSealArguments, SecretsStatusArguments,
};
use crate::data_directory::DataDirectory;
use crate::http_client::{self, Address};
use crate::{Outcome, Unreadable, output};

const DEADLINE: Duration = Duration::from_secs(15);
/// The services that have secrets.
const SERVICES: [&str; 2] = ["core-api", "control-plane"];

pub(crate) fn run(command: &SecretsCommand) -> anyhow::Result<Outcome> {
    match command {
        SecretsCommand::Check(arguments) => check(arguments),
        SecretsCommand::Status(arguments) => status(arguments),
        SecretsCommand::Seal(arguments) => seal(arguments),
    }
}

fn seal(arguments: &SecretsSealArguments) -> anyhow::Result<Outcome> {
    let unreadable =
        |file: &Path, why: &dyn std::fmt::Display| Unreadable(format!("{}: {why}", file.display()));
    let identity = &arguments.identity;
    let is_made = secrets::make_identity(identity).map_err(|fault| unreadable(identity, &fault))?;
    if is_made {
        output::line(&format!(
            "an identity is in {}: `secrets.age.identity_file` of the settings; keep a copy in another place",
            identity.display()
        ));
    }
    for plain in &arguments.files {
        let mut sealed = plain.clone().into_os_string();
        sealed.push(".age");
        let sealed = PathBuf::from(sealed);
        secrets::seal_file(plain, &sealed, identity).map_err(|fault| unreadable(&sealed, &fault))?;
        let place = std::path::absolute(&sealed)?;
        output::line(&format!("age://{}", place.display()));
        if arguments.remove {
            std::fs::remove_file(plain).map_err(|error| unreadable(plain, &error))?;
        }
    }
    Ok(Outcome::Done)
}

fn check(arguments: &SecretsCheckArguments) -> anyhow::Result<Outcome> {
    if let Err(error) = std::fs::metadata(&arguments.settings) {
        return Err(Unreadable(format!("{}: {error}", arguments.settings.display())).into());
    }
    let resolved = load_secrets(&arguments.service, &arguments.settings)?;
    let found: Vec<SourceStatus> = resolved.sources().map(|source| source.status()).collect();
    let missing: Vec<&str> = resolved.faults().map(|(_, why)| why).collect();
    give_back(&resolved)?;
    match arguments.format {
        Format::Json => output::line(&serde_json::to_string_pretty(&json!({
            "found": found, "missing": missing,
        }))?),
        Format::Human => {
            for status in &found {
                output::line(&format!(
                    "good     {}  {}",
                    status.reference,
                    status.consumers.join(", ")
                ));
            }
            for why in &missing {
                output::line(&format!("missing  {why}"));
            }
            output::line(&format!("{} good, {} missing", found.len(), missing.len()));
        }
    }
    Ok(if missing.is_empty() {
        Outcome::Done
    } else {
        Outcome::Findings
    })
}

/// A login that was lent to see whether it can be is of no use to anybody.
fn give_back(resolved: &Resolved) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for source in resolved.sources() {
            if let Err(fault) = source.give_back().await {
                let reference = source.reference();
                output::fault(&format!(
                    "{reference}: what was lent ends with its lease, as it cannot be given back: {fault}"
                ));
            }
        }
    });
    Ok(())
}

fn status(arguments: &SecretsStatusArguments) -> anyhow::Result<Outcome> {
    let addresses = if arguments.addresses.is_empty() {
        private_addresses(&DataDirectory::open(&arguments.data_dir)?)?
    } else {
        arguments.addresses.clone()
    };
    let secrets = ask_all(&addresses)?;
    let now = Clock::system().now();
    match arguments.format {
        Format::Json => {
            let rows: Vec<_> = secrets
                .iter()
                .map(|status| json!({"secret": status, "next_action": status.next_action(now)}))
                .collect();
            output::line(&serde_json::to_string_pretty(&rows)?);
        }
        Format::Human => output::line(&table(&secrets, now)),
    }
    let is_calm = secrets.iter().all(|status| status.next_action(now).is_none());
    Ok(if is_calm { Outcome::Done } else { Outcome::Findings })
}

fn private_addresses(directory: &DataDirectory) -> anyhow::Result<Vec<SocketAddr>> {
    SERVICES
        .iter()
        .map(|service| {
            let file = directory.run().join(format!("{service}.json"));
            let unreadable =
                |why: String| Unreadable(format!("{}: {why}; is the system running?", file.display()));
            let text = std::fs::read_to_string(&file).map_err(|error| unreadable(error.to_string()))?;
            let endpoints: serde_json::Value =
                serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
            let private = endpoints.get("private").and_then(serde_json::Value::as_str);
            let address = private.and_then(|address| address.parse().ok());
            Ok(address.ok_or_else(|| unreadable("names no private address".to_owned()))?)
        })
        .collect()
}

fn ask_all(addresses: &[SocketAddr]) -> anyhow::Result<Vec<SourceStatus>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut all = Vec::new();
    for address in addresses {
        let place = Address::Port(*address);
        let question = http_client::request(&place, Method::GET, "/secrets", DEADLINE);
        let answer = runtime
            .block_on(question)
            .map_err(|error| Unreadable(format!("{address}: {error:#}; is the service running?")))?;
        let secrets: Vec<SourceStatus> = serde_json::from_slice(&answer.body).with_context(|| {
            format!(
                "{address} answers {} with no list of secrets",
                answer.status.as_u16()
            )
        })?;
        all.extend(secrets);
    }
    Ok(all)
}

fn table(secrets: &[SourceStatus], now: DateTime<Utc>) -> String {
    let mut lines = Vec::new();
    for status in secrets {
        lines.push(status.reference.clone());
        let age = status
            .since
            .map_or_else(|| "unknown".to_owned(), |since| ago(now, since));
        let version = status
            .version
            .as_deref()
            .map(|version| format!(", version {version}"))
            .unwrap_or_default();
        lines.push(format!("  used by       {}", status.consumers.join(", ")));
        lines.push(format!(
            "  age           {age} of {} days{version}",
            status.freshness.max_age_days
        ));
        lines.push(format!(
            "  last fetched  {} ago, every {} s",
            ago(now, status.fetched_at),
            status.freshness.refresh_every_s
        ));
        if let Some(changed_at) = status.changed_at {
            lines.push(format!("  rotated       {} ago", ago(now, changed_at)));
        }
        if let Some(fault) = &status.fault {
            lines.push(format!("  fails         {fault}"));
        }
        lines.push(format!(
            "  next          {}",
            status.next_action(now).unwrap_or("nothing to do")
        ));
    }
    lines.join("\n")
}

/// How long ago: the largest unit only.
fn ago(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    let passed = now.signed_duration_since(then);
    match (passed.num_days(), passed.num_hours(), passed.num_minutes()) {
        (days, _, _) if days > 0 => format!("{days} d"),
        (_, hours, _) if hours > 0 => format!("{hours} h"),
        (_, _, minutes) if minutes > 0 => format!("{minutes} min"),
        _ => format!("{} s", passed.num_seconds().max(0)),
    }
}

#[cfg(test)]
mod tests {
    use secrets::Freshness;

    use super::*;

    #[test]
    fn the_table_says_how_old_a_secret_is_who_uses_it_and_what_to_do() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let day = 86_400;
        let healthy = SourceStatus {
            reference: "vault://kv/bank/core#url".to_owned(),
            provider: "vault".to_owned(),
            consumers: vec!["core-api: database.url".to_owned()],
            version: Some("7".to_owned()),
            since: Some(at(0)),
            fetched_at: at(12 * day - 40),
            changed_at: Some(at(12 * day - 7_200)),
            is_followed: true,
            fault: None,
            freshness: Freshness {
                refresh_every_s: 300,
                max_stale_s: 86_400,
                max_age_days: 90,
            },
            lent_until: None,
        };
        let failing = SourceStatus {
            reference: "file:/run/secrets/pepper".to_owned(),
            version: None,
            since: None,
            changed_at: None,
            fault: Some("No such file or directory (os error 2)".to_owned()),
            ..healthy.clone()
        };
        insta::assert_snapshot!(table(&[healthy, failing], at(12 * day)));
    }
}
