//! `portico gateway|control-plane|core-api`: reads the settings and hands over.

use service_runtime::settings::{Environment, load_checked};
use service_runtime::{memory, panics};

use crate::Outcome;
use crate::arguments::{GatewayArguments, GatewayCommand, ServiceArguments};
use crate::output;

pub(crate) fn gateway(arguments: &GatewayArguments) -> anyhow::Result<Outcome> {
    if let Some(GatewayCommand::Upgrade(upgrade)) = &arguments.command {
        let settings = gateway::Settings::load(upgrade.settings.as_deref())?;
        let pid = gateway::request_upgrade(&settings)?;
        output::line(&format!("gateway: process {pid} serves now; the old one drains"));
        return Ok(Outcome::Done);
    }
    let predecessor = arguments
        .take_over
        .then(gateway::Predecessor::on_standard_input)
        .transpose()?;
    let ran = run_gateway(&arguments.service, predecessor.as_ref());
    if let (Err(error), Some(predecessor)) = (&ran, &predecessor) {
        predecessor.tell_failure(error);
    }
    ran
}

fn run_gateway(
    arguments: &ServiceArguments,
    predecessor: Option<&gateway::Predecessor>,
) -> anyhow::Result<Outcome> {
    memory::keep_to_itself()?;
    panics::leave_data_out();
    let environment = Environment::from_env()?;
    let settings = gateway::Settings::load(arguments.settings.as_deref())?;
    if arguments.check_settings {
        return Ok(settings_are_good("gateway", environment));
    }
    let program = std::env::args_os().collect();
    gateway::run(settings, environment, program, predecessor)?;
    Ok(Outcome::Done)
}

pub(crate) fn control_plane(arguments: &ServiceArguments) -> anyhow::Result<Outcome> {
    memory::keep_to_itself()?;
    panics::leave_data_out();
    let environment = Environment::from_env()?;
    let settings: control_plane::Settings = load_checked(
        "control-plane",
        arguments.settings.as_deref(),
        |settings: &control_plane::Settings| settings.faults(environment),
    )?;
    if arguments.check_settings {
        settings.secrets().give_back_now();
        return Ok(settings_are_good("control-plane", environment));
    }
    control_plane::run(settings, environment)?;
    Ok(Outcome::Done)
}

pub(crate) fn core_api(arguments: &ServiceArguments) -> anyhow::Result<Outcome> {
    memory::keep_to_itself()?;
    panics::leave_data_out();
    let environment = Environment::from_env()?;
    let settings: core_api::Settings = load_checked(
        "core-api",
        arguments.settings.as_deref(),
        |settings: &core_api::Settings| settings.faults(environment),
    )?;
    if arguments.check_settings {
        settings.secrets().give_back_now();
        return Ok(settings_are_good("core-api", environment));
    }
    core_api::run(settings, environment, gateway::read_policies)?;
    Ok(Outcome::Done)
}

fn settings_are_good(service: &str, environment: Environment) -> Outcome {
    output::line(&format!(
        "{service}: the settings are good (environment {environment})"
    ));
    Outcome::Done
}
