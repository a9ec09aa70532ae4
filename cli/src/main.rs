//! `portico`: the only binary. It parses arguments, dispatches and maps errors to exit codes; what it starts lives in
//! the service crates.
//!
//! `main` is synchronous: each service builds its own runtime, and `up` starts child processes, never threads.

mod argon2;
mod arguments;
mod breach;
mod control_plane;
mod data_directory;
mod denials;
mod doctor;
mod durable_file;
mod fleet;
mod http_client;
mod keys;
mod mail;
mod migrate;
mod openapi;
mod output;
mod policy;
mod prove;
mod secrets;
mod services;
mod trust;
mod up;
mod user;

use std::process::ExitCode;

use clap::Parser as _;

use arguments::{Arguments, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a command came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Exit 0.
    Done,
    /// Exit 1: it worked, and what it found is not good.
    Findings,
}

/// The exit code of wrong settings and missing secrets, as sysexits.h names it: EX_CONFIG.
const WRONG_SETTINGS: u8 = 78;

/// An error of this kind exits 2: the input cannot be read. Every other error exits 1.
#[derive(Debug)]
struct Unreadable(String);

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

fn main() -> ExitCode {
    service_runtime::crypto::install_provider();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors to clap: 0 for them, 2 for wrong usage.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    let ran = run(arguments.command);
    if let Some(error) = output::loss() {
        output::fault(&format!(
            "portico: standard output: {error}; what was printed is not whole"
        ));
        return ExitCode::from(2);
    }
    match ran {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::FAILURE,
        Err(error) => {
            output::fault(&format!("portico: {error:#}"));
            if error.is::<service_runtime::settings::SettingsError>() {
                ExitCode::from(WRONG_SETTINGS)
            } else if error.is::<Unreadable>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(command: Command) -> anyhow::Result<Outcome> {
    match command {
        Command::Up(arguments) => up::run(&arguments),
        Command::Gateway(arguments) => services::gateway(&arguments),
        Command::ControlPlane(arguments) => services::control_plane(&arguments),
        Command::CoreApi(arguments) => services::core_api(&arguments),
        Command::Migrate(arguments) => migrate::run(&arguments),
        Command::Policy(command) => policy::run(command),
        Command::Keys(command) => keys::run(&command),
        Command::Kek(command) => keys::kek::run(&command),
        Command::Fleet(command) => fleet::run(&command),
        Command::Trust(command) => trust::run(&command),
        Command::Revoke(command) => denials::revoke(&command),
        Command::Block(command) => denials::block(&command),
        Command::User(command) => user::run(&command),
        Command::Secrets(command) => secrets::run(&command),
        Command::Breach(command) => breach::run(&command),
        Command::Argon2(command) => argon2::run(&command),
        Command::Mail(command) => mail::run(&command),
        Command::Openapi => openapi::run(),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Prove(arguments) => prove::run(&arguments),
    }
}
