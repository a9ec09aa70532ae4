//! The built binary, and the files of `deploy/`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tidy::tree::root;

/// The three services: subcommand, and the beginning of its variables.
pub(crate) const SERVICES: [(&str, &str); 3] = [
    ("gateway", "GATEWAY__"),
    ("core-api", "CORE_API__"),
    ("control-plane", "CONTROL_PLANE__"),
];

/// The binary beside the tests, or the one that `CARGO_BIN_EXE_portico` names.
pub(crate) fn binary() -> PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "cargo's own variable, and this is a test"
    )]
    let named = std::env::var_os("CARGO_BIN_EXE_portico").map(PathBuf::from);
    let path = named.unwrap_or_else(|| {
        // target/debug/deps/deploy-… → target/debug/portico
        let me = std::env::current_exe().expect("path of this test");
        me.ancestors().nth(2).expect("target directory").join("portico")
    });
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build --package portico` first",
        path.display()
    );
    path
}

/// Runs the binary with an environment that holds `variables` and nothing else.
pub(crate) fn portico(arguments: &[&str], variables: &[(String, String)]) -> Output {
    Command::new(binary())
        .args(arguments)
        .env_clear()
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("the binary starts")
}

/// What a failed run said.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The content of a file below `deploy/`.
pub(crate) fn read(name: &str) -> String {
    let path = root().join("deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A directory with every secret that the settings name, and good policies: what a machine would have.
pub(crate) fn provisioned(folder: &Path) -> PathBuf {
    let secrets = folder.join("secrets");
    std::fs::create_dir_all(&secrets).expect("folder for secrets");
    for (name, content) in [
        ("db_core", "postgresql://portico_core@localhost/portico"),
        ("db_control", "postgresql://portico_control@localhost/portico"),
        ("db_owner", "postgresql://postgres@localhost/portico"),
        ("kek", "0123456789abcdef0123456789abcdef"),
        ("pepper", "a pepper that is long enough"),
        ("gateway.pem", ""),
        ("gateway.key", ""),
    ] {
        std::fs::write(secrets.join(name), content).expect("secret is written");
    }
    secrets
}
