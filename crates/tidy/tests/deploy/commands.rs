//! Every command line in `deploy/` and in the documents exists in the binary's help.

use serde_yaml::Value;
use tidy::documents::portico_commands;
use tidy::tree::{committed_files, root};

use crate::portico::{portico, read, said};

/// Command lines of `deploy/`, as words after `portico`.
fn command_lines() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for (service, _) in crate::portico::SERVICES {
        let unit = format!("systemd/portico-{service}.service");
        for line in read(&unit).lines() {
            let Some((key, command)) = line.split_once('=').filter(|(key, _)| key.starts_with("Exec")) else {
                continue;
            };
            let mut words = command.split_whitespace().map(str::to_owned);
            assert_eq!(words.next().as_deref(), Some("/usr/bin/portico"), "{unit}: {key}");
            found.push((unit.clone(), words.collect()));
        }
    }
    let compose: Value = serde_yaml::from_str(&read("compose.yaml")).expect("compose.yaml is YAML");
    for (name, service) in compose["services"].as_mapping().expect("services") {
        let name = name.as_str().expect("name");
        if name != "postgres" && name != "logins" {
            found.push((format!("compose.yaml {name}"), words(&service["command"])));
        }
    }
    let dockerfile = read("Dockerfile");
    let cmd = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("CMD "))
        .expect("CMD");
    found.push((
        "Dockerfile".to_owned(),
        words(&serde_yaml::from_str(cmd).expect("CMD is a list")),
    ));
    found
}

fn words(list: &Value) -> Vec<String> {
    list.as_sequence()
        .expect("a list")
        .iter()
        .map(|word| word.as_str().expect("a word").to_owned())
        .collect()
}

/// What is wrong with a command line according to the binary's own help.
fn fault(words: &[String]) -> Option<String> {
    let (flags, subcommand): (Vec<&String>, Vec<&String>) = words
        .iter()
        .filter(|word| !word.starts_with('/'))
        .partition(|word| word.starts_with("--"));
    let mut arguments: Vec<&str> = subcommand.iter().map(|word| word.as_str()).collect();
    arguments.push("--help");
    let output = portico(&arguments, &[]);
    if !output.status.success() {
        return Some(said(&output));
    }
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_known = |flag: &str| {
        help.split(|c: char| !c.is_alphanumeric() && c != '-')
            .any(|word| word == flag)
    };
    flags
        .into_iter()
        .find(|flag| !is_known(flag))
        .map(|flag| format!("no {flag} in\n{help}"))
}

#[test]
fn every_command_in_deploy_exists() {
    let lines = command_lines();
    assert!(lines.len() >= 11, "commands were not found: {lines:?}");
    for (place, words) in lines {
        if let Some(fault) = fault(&words) {
            panic!("{place}: portico {}: {fault}", words.join(" "));
        }
    }
}

#[test]
fn every_command_in_the_documents_exists() {
    let mut seen = 0;
    for file in committed_files(&root()).expect("run from a git checkout") {
        for (index, words) in portico_commands(&file) {
            seen += 1;
            if let Some(fault) = fault(&words) {
                panic!(
                    "{}:{}: portico {}: {fault}",
                    file.path,
                    index + 1,
                    words.join(" ")
                );
            }
        }
    }
    assert!(seen >= 10, "the documents name only {seen} commands");
}

#[test]
fn a_command_or_flag_that_does_not_exist_is_found() {
    let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert!(fault(&line("gatewey --settings /etc/portico/gateway.yaml")).is_some());
    assert!(fault(&line("gateway --setting /etc/portico/gateway.yaml")).is_some());
    assert!(fault(&line("gateway --settings /etc/portico/gateway.yaml")).is_none());
}
