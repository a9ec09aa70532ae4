//! The systemd units: what systemd itself thinks of them, and what they must keep from each other.

use std::path::Path;
use std::process::Command;

use crate::portico::{SERVICES, binary, read};

/// Runs `systemd-analyze verify` on the units with the built binary in place. `None` where systemd is not installed.
fn verify(folder: &Path, change: impl Fn(String) -> String) -> Option<String> {
    let mut paths = Vec::new();
    for (service, _) in SERVICES {
        let name = format!("portico-{service}.service");
        let text =
            read(&format!("systemd/{name}")).replace("/usr/bin/portico", &binary().display().to_string());
        let path = folder.join(name);
        std::fs::write(&path, change(text)).expect("unit is written");
        paths.push(path);
    }
    // `--man=no`: manuals are not part of the units. Reads the host's own units only by name.
    match Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&paths)
        .output()
    {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let ours: Vec<&str> = text.lines().filter(|line| line.contains("portico")).collect();
            Some(ours.join("\n"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("systemd-analyze: {error}"),
    }
}

#[test]
fn systemd_accepts_the_units() {
    let folder = tempfile::tempdir().expect("temporary directory");
    let Some(complaints) = verify(folder.path(), |text| text) else {
        skips::skip("systemd-analyze is not installed here, the units were not verified");
        return;
    };
    assert!(complaints.is_empty(), "{complaints}");
    // The same check must see a directive that does not exist and a program that is not there.
    let misspelt = verify(folder.path(), |text| {
        text.replace("NoNewPrivileges=", "NoNewPriviledges=")
    });
    assert!(misspelt.expect("systemd is here").contains("NoNewPriviledges"));
    let absent = verify(folder.path(), |text| {
        text.replace("ExecStart=/", "ExecStart=/absent/")
    });
    assert!(absent.expect("systemd is here").contains("absent"));
}

/// INV-A11: the gateway holds its certificate and no other secret.
#[test]
fn a_unit_loads_the_secrets_of_its_service_only() {
    let loaded = |service: &str| -> Vec<String> {
        let unit = read(&format!("systemd/portico-{service}.service"));
        let credentials = unit
            .lines()
            .filter_map(|line| line.strip_prefix("LoadCredential="));
        credentials
            .filter_map(|line| Some(line.split_once(':')?.0.to_owned()))
            .collect()
    };
    assert_eq!(loaded("gateway"), ["gateway.pem", "gateway.key"]);
    assert_eq!(loaded("core-api"), ["db_core", "kek", "pepper"]);
    assert_eq!(loaded("control-plane"), ["db_control", "kek"]);
}

#[test]
fn every_unit_is_hardened() {
    for (service, _) in SERVICES {
        let unit = read(&format!("systemd/portico-{service}.service"));
        for line in [
            "User=portico",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "ProtectHome=yes",
            "PrivateTmp=yes",
            "PrivateDevices=yes",
            "MemoryDenyWriteExecute=yes",
            "SystemCallFilter=@system-service",
            "RuntimeDirectoryMode=0700",
            "RuntimeDirectoryPreserve=yes",
        ] {
            assert!(
                unit.lines().any(|other| other == line),
                "portico-{service}.service has no {line}"
            );
        }
        assert!(
            unit.contains("InaccessiblePaths=-/etc/portico/secrets"),
            "{service} can read every secret"
        );
    }
}

/// systemd's own measure of what a unit leaves open, from 0 to 10; ours stay at 2 or below.
#[test]
fn systemd_finds_little_exposed() {
    let exposure = |unit: &Path| {
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", "--threshold=20"])
            .arg(unit)
            .output()
            .expect("systemd-analyze was there a moment ago")
    };
    let is_new_enough = Command::new("systemd-analyze")
        .args(["security", "--help"])
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("--offline"));
    if !is_new_enough {
        skips::skip("no systemd-analyze with `security --offline` here, the exposure was not measured");
        return;
    }
    let folder = tempfile::tempdir().expect("temporary directory");
    for (service, _) in SERVICES {
        let path = folder.path().join(format!("portico-{service}.service"));
        let text = read(&format!("systemd/portico-{service}.service"));
        std::fs::write(&path, &text).expect("unit is written");
        let output = exposure(&path);
        assert!(
            output.status.success(),
            "{service}: {}",
            String::from_utf8_lossy(&output.stdout)
        );

        // Without its sandbox the same unit must be over the mark.
        let open: String = text
            .lines()
            .filter(|line| {
                !line.starts_with("Protect")
                    && !line.starts_with("SystemCall")
                    && !line.starts_with("Restrict")
            })
            .map(|line| format!("{line}\n"))
            .collect();
        std::fs::write(&path, open).expect("unit is written");
        assert!(
            !exposure(&path).status.success(),
            "{service}: the measure sees no difference"
        );
    }
}
