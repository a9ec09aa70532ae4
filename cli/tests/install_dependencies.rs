//! `scripts/install-dependencies` on made-up machines: a PATH of our own, a root of our own, nothing really installed.
#![cfg(test)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A machine that has cargo, curl and a few ordinary programs; neither compiler, cmake nor PostgreSQL.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(user_id: u32) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        for directory in ["bin", "root/usr/sbin"] {
            fs::create_dir_all(machine.at(directory)).unwrap();
        }
        for name in ["mkdir", "tee", "chmod", "rm", "env", "cat"] {
            let real = ["/usr/bin", "/bin"].map(|at| Path::new(at).join(name));
            symlink(
                real.iter().find(|path| path.exists()).unwrap(),
                machine.at("bin").join(name),
            )
            .unwrap();
        }
        for name in ["cargo", "curl"] {
            machine.program(name, "exit 0");
        }
        machine.program("id", &format!("echo {user_id}"));
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn program(&self, name: &str, body: &str) {
        let path = self.at("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A package manager that notes down how it is called and what it finds, and brings PostgreSQL.
    fn package_manager(&self, name: &str) {
        let log = self.at("log");
        let root = self.at("root");
        self.program(
            name,
            &format!(
                "echo \"{name} $*\" >>'{log}'\n\
                 echo \"frontend ${{DEBIAN_FRONTEND:-}}\" >>'{log}'\n\
                 for file in '{root}'/etc/postgresql-common/createcluster.conf '{root}'/usr/sbin/policy-rc.d; do\n\
                   if [ -e \"$file\" ]; then cat \"$file\" >>'{log}'; fi\n\
                 done\n\
                 mkdir -p '{root}/usr/lib/postgresql/15/bin'\n\
                 for program in postgres initdb; do\n\
                   echo >'{root}'/usr/lib/postgresql/15/bin/$program\n\
                   chmod 755 '{root}'/usr/lib/postgresql/15/bin/$program\n\
                 done",
                log = log.display(),
                root = root.display()
            ),
        );
    }

    fn has_postgresql(&self) {
        for name in ["postgres", "initdb"] {
            self.program(name, "exit 0");
        }
    }

    /// Exit code and what it said. Standard input is closed: a question would not be answered.
    fn run(&self) -> (Option<i32>, String) {
        self.run_with(&[])
    }

    fn run_with(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output =
            Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/install-dependencies"))
                .args(arguments)
                .env_clear()
                .env("PATH", self.at("bin"))
                .env("SYSTEM_ROOT", self.at("root"))
                .stdin(Stdio::null())
                .output()
                .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.at("log")).unwrap_or_default()
    }
}

#[test]
fn without_a_package_manager_it_names_what_to_install() {
    let (code, said) = Machine::new(0).run();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("Please install: a C compiler, cmake, the PostgreSQL server (15 or newer)\n"),
        "{said}"
    );
}

#[test]
fn without_root_it_names_the_command_and_installs_nothing() {
    let machine = Machine::new(1000);
    machine.package_manager("apt-get");
    machine.program("sudo", "exit 1");
    let (code, said) = machine.run();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("sudo apt-get install build-essential cmake postgresql\n"),
        "{said}"
    );
    assert!(said.contains("createcluster.conf"), "{said}");
    assert_eq!(machine.log(), "");

    machine.has_postgresql();
    let (code, said) = machine.run();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        !said.contains("createcluster.conf"),
        "no cluster comes without PostgreSQL: {said}"
    );

    let machine = Machine::new(1000);
    machine.package_manager("dnf");
    let (code, said) = machine.run();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("sudo dnf install gcc"), "{said}");
    assert!(!said.contains("createcluster.conf"), "{said}");
}

#[test]
fn apt_is_told_to_make_no_cluster_and_to_start_nothing_before_it_installs() {
    let machine = Machine::new(0);
    machine.package_manager("apt-get");
    let (code, said) = machine.run();
    assert_eq!(code, Some(0), "{said}");
    let log = machine.log();
    assert!(
        log.starts_with("apt-get -y ") && log.contains("frontend noninteractive"),
        "{log}"
    );
    assert!(log.contains("create_main_cluster = false"), "{log}");
    assert!(log.contains("exit 101"), "{log}");
    assert!(
        !machine.at("root/usr/sbin/policy-rc.d").exists(),
        "what keeps services from starting must not stay"
    );
}

#[test]
fn with_nothing_to_install_no_package_manager_runs() {
    let machine = Machine::new(1000);
    machine.package_manager("brew");
    machine.has_postgresql();
    machine.program("cmake", "exit 0");
    let (code, said) = machine.run();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("xcode-select --install"), "{said}");
    assert_eq!(machine.log(), "");

    machine.program("cc", "exit 0");
    assert_eq!(machine.run(), (Some(0), String::new()));
    assert_eq!(machine.log(), "");
}

#[test]
fn tests_want_compilers_a_browser_redis_a_mail_server_iproute2_faketime_python_and_an_acme_server() {
    let machine = Machine::new(1000);
    machine.package_manager("apt-get");
    machine.has_postgresql();
    for name in ["cmake", "cc"] {
        machine.program(name, "exit 0");
    }
    assert_eq!(machine.run(), (Some(0), String::new()));

    let (code, said) = machine.run_with(&["--tests"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(
            "sudo apt-get install g++ redis-server python3-aiosmtpd chromium chromium-driver iproute2 faketime python3-venv pebble\n"
        ),
        "{said}"
    );

    for name in [
        "c++",
        "aiosmtpd",
        "chromedriver",
        "redis-server",
        "ip",
        "faketime",
        "python3",
        "pebble",
    ] {
        machine.program(name, "exit 0");
    }
    assert_eq!(machine.run_with(&["--tests"]), (Some(0), String::new()));
}

#[test]
fn the_redis_server_of_the_tests_does_not_start_with_the_machine() {
    let machine = Machine::new(0);
    machine.package_manager("apt-get");
    machine.has_postgresql();
    for name in [
        "cmake",
        "cc",
        "c++",
        "aiosmtpd",
        "chromedriver",
        "ip",
        "faketime",
        "python3",
        "pebble",
    ] {
        machine.program(name, "exit 0");
    }
    let log = machine.at("log");
    machine.program(
        "systemctl",
        &format!("echo \"systemctl $*\" >>'{}'", log.display()),
    );
    let (code, said) = machine.run_with(&["--tests"]);
    assert_eq!(code, Some(0), "{said}");
    let log = machine.log();
    assert!(log.contains("install redis-server\n"), "{log}");
    assert!(log.ends_with("systemctl --quiet disable redis-server\n"), "{log}");
}
