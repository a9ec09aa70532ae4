//! `portico gateway|control-plane|core-api`: reads the settings and hands over.

use service_runtime::settings::{Environment, load_checked};

use crate::Outcome;
use crate::arguments::ServiceArguments;
use crate::output;

pub(crate) fn gateway(arguments: &ServiceArguments) -> anyhow::Result<Outcome> {
    let environment = Environment::from_env()?;
    let settings = gateway::Settings::load(arguments.settings.as_deref())?;
    if arguments.check_settings {
        return Ok(settings_are_good("gateway", environment));
    }
    gateway::run(settings, environment)?;
    Ok(Outcome::Done)
}

pub(crate) fn control_plane(arguments: &ServiceArguments) -> anyhow::Result<Outcome> {
    let environment = Environment::from_env()?;
    let settings: control_plane::Settings = load_checked(
        "control-plane",
        arguments.settings.as_deref(),
        |settings: &control_plane::Settings| settings.faults(environment),
    )?;
    if arguments.check_settings {
        return Ok(settings_are_good("control-plane", environment));
    }
    control_plane::run(settings, environment)?;
    Ok(Outcome::Done)
}

pub(crate) fn core_api(arguments: &ServiceArguments) -> anyhow::Result<Outcome> {
    let environment = Environment::from_env()?;
    let settings: core_api::Settings = load_checked(
        "core-api",
        arguments.settings.as_deref(),
        |settings: &core_api::Settings| settings.faults(environment),
    )?;
    if arguments.check_settings {
        return Ok(settings_are_good("core-api", environment));
    }
    core_api::run(settings, environment)?;
    Ok(Outcome::Done)
}

fn settings_are_good(service: &str, environment: Environment) -> Outcome {
    output::line(&format!(
        "{service}: the settings are good (environment {environment})"
    ));
    Outcome::Done
}
