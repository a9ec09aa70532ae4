//! `portico breach build|check`: files of breached passwords, made and looked into without a network.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use passwords::{BreachFilter, BuildError, Built, FilterFault};
use zeroize::Zeroizing;

use crate::{Outcome, Unreadable, durable_file, output};

/// Longest line of passwords that is read.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// What can be done with breached passwords.
#[derive(Debug, Subcommand)]
pub(crate) enum BreachCommand {
    /// Make a file of breached passwords for core-api.
    Build(BuildArguments),
    /// Check such a file, and look passwords up in it.
    Check(CheckArguments),
}

/// Options of `portico breach build`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  portico breach build --in pwned-passwords-sha1-ordered-by-hash.txt --min-count 10 --out breached.bf16

The list has a line SHA1:COUNT for each password and is sorted by SHA-1, as Have I Been Pwned publishes it; with another
order, `LC_ALL=C sort` it first. It is read once, in little memory, and a bad line is told with its number. The file is
renamed into place when it is whole: a core-api that uses it takes it over within ten seconds.

Exit codes: 0 made; 1 lines are bad, and nothing was written; 2 wrong usage, or a file that cannot be read or written.")]
pub(crate) struct BuildArguments {
    /// The list.
    #[arg(long = "in", value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Leave out passwords that were seen fewer times.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) min_count: u64,
    /// The file to make.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

/// Options of `portico breach check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portico breach check breached.bf16
  portico breach check breached.bf16 --stdin < passwords.txt

With --stdin each line is a password, and is told by its number: no list of processes and no screen shows one. One in
65,536 passwords that are not breached is taken for one.

Exit codes: 0 the file is whole, and no password is in it; 1 one is; 2 it cannot be read or is damaged.")]
pub(crate) struct CheckArguments {
    /// The file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Look up the passwords on standard input.
    #[arg(long)]
    pub(crate) stdin: bool,
}

pub(crate) fn run(command: &BreachCommand) -> anyhow::Result<Outcome> {
    match command {
        BreachCommand::Build(arguments) => build(arguments),
        BreachCommand::Check(arguments) => check(arguments),
    }
}

fn build(arguments: &BuildArguments) -> anyhow::Result<Outcome> {
    let list = File::open(&arguments.input).map_err(|error| unreadable(&arguments.input, &error))?;
    let made = durable_file::write_with(&arguments.out, 0o644, |file| {
        Ok(passwords::build(
            BufReader::new(list),
            arguments.min_count,
            BufWriter::new(file),
        )?)
    });
    match made {
        Ok(Built { lines, entries }) => {
            output::line(&format!(
                "{}: {entries} of {lines} passwords, seen {} times or more",
                arguments.out.display(),
                arguments.min_count
            ));
            Ok(Outcome::Done)
        }
        Err(error) => match error.downcast::<BuildError>() {
            Ok(BuildError::Lines { first, count }) => {
                let path = arguments.input.display();
                for fault in &first {
                    output::fault(&format!("{path}: {fault}"));
                }
                bail!("{path}: {count} bad lines; nothing was written");
            }
            Ok(BuildError::Read(error)) => Err(unreadable(&arguments.input, &error)),
            Ok(BuildError::Write(error)) => Err(unreadable(&arguments.out, &error)),
            Ok(error @ BuildError::Shard(_)) => Err(error.into()),
            Err(error) => Err(Unreadable(format!("{error:#}")).into()),
        },
    }
}

fn check(arguments: &CheckArguments) -> anyhow::Result<Outcome> {
    let filter = read(&arguments.file).map_err(|error| unreadable(&arguments.file, &error))?;
    output::line(&format!(
        "{}: whole; {} passwords, seen {} times or more; sha256 {}",
        arguments.file.display(),
        filter.entries(),
        filter.min_count(),
        filter.digest()
    ));
    if !arguments.stdin {
        return Ok(Outcome::Done);
    }
    let mut outcome = Outcome::Done;
    let mut input = io::stdin().lock();
    for number in 1_u64.. {
        let mut line = Zeroizing::new(String::new());
        let read = input.by_ref().take(MAX_LINE_BYTES).read_line(&mut line);
        if read.context("standard input")? == 0 {
            break;
        }
        if filter.contains(&passwords::normal(line.trim_end_matches(['\n', '\r']))) {
            output::line(&format!("line {number}: breached"));
            outcome = Outcome::Findings;
        }
    }
    Ok(outcome)
}

fn read(path: &Path) -> Result<BreachFilter, FilterFault> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    BreachFilter::read(BufReader::with_capacity(1024 * 1024, file), length)
}

fn unreadable(path: &Path, error: &impl std::fmt::Display) -> anyhow::Error {
    Unreadable(format!("{}: {error}", path.display())).into()
}
