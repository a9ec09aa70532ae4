//! `portico policy fmt` on real files: what it writes, what it leaves, and its exit codes.
#![cfg(test)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CANONICAL: &str = "version: 1\n\nhosts: [a.example]  # ours\n";
const OTHER: &str = "hosts:   ['a.example'] # ours\nversion: 1\n";

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn fmt(directory: &Path, arguments: &[&str], input: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portico"))
        .args(["policy", "fmt"])
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read it closes the pipe.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A directory with `policies/` that holds these files.
fn policies(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("policies");
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    (root, folder)
}

#[test]
fn the_shipped_policies_pass_the_check() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let said = fmt(&root, &["--check"], "");
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
}

#[test]
fn files_overlays_and_cases_are_rewritten_and_keep_their_mode() {
    let names = ["hosts.yaml", "environments/test.yaml", "tests/hosts.yaml"];
    let (root, folder) = policies(&names.map(|name| (name, OTHER)));
    let path = folder.join("hosts.yaml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
    let said = fmt(root.path(), &[], "");
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    for name in names {
        assert_eq!(
            fs::read_to_string(folder.join(name)).unwrap(),
            CANONICAL,
            "{name}"
        );
        assert!(
            said.out.contains(&format!("formatted policies/{name}")),
            "{}",
            said.out
        );
    }
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o604);
}

#[test]
fn what_is_canonical_is_not_written() {
    let (root, folder) = policies(&[("hosts.yaml", CANONICAL)]);
    let path = folder.join("hosts.yaml");
    let before = fs::metadata(&path).unwrap();
    assert_eq!(fmt(root.path(), &[], "").code, Some(0));
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (after.ino(), after.mtime_nsec(), after.ctime_nsec()),
        (before.ino(), before.mtime_nsec(), before.ctime_nsec())
    );
}

#[test]
fn a_check_shows_what_would_change_and_changes_nothing() {
    let (root, folder) = policies(&[("a.yaml", CANONICAL), ("b.yaml", OTHER)]);
    let said = fmt(root.path(), &["--check"], "");
    assert_eq!(said.code, Some(1));
    for shown in [
        "--- policies/b.yaml\n",
        "-hosts:   ['a.example'] # ours\n",
        "+hosts: [a.example]  # ours\n",
        "1 of 2 policy files would change",
    ] {
        assert!(said.out.contains(shown), "{shown}:\n{}", said.out);
    }
    assert!(!said.out.contains("a.yaml"), "{}", said.out);
    assert_eq!(fs::read_to_string(folder.join("b.yaml")).unwrap(), OTHER);
}

#[test]
fn a_file_that_is_no_yaml_stays_and_the_others_are_formatted() {
    let broken = "hosts: [a.example\r\n";
    let (root, folder) = policies(&[("broken.yaml", broken), ("good.yaml", OTHER)]);
    let said = fmt(root.path(), &[], "");
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.contains("P1002") && said.out.contains("policies/broken.yaml:1:"),
        "{}",
        said.out
    );
    assert_eq!(fs::read_to_string(folder.join("broken.yaml")).unwrap(), broken);
    assert_eq!(fs::read_to_string(folder.join("good.yaml")).unwrap(), CANONICAL);
}

#[test]
fn a_link_stays_a_link() {
    let (root, folder) = policies(&[("real/hosts.yaml", OTHER)]);
    let link = root.path().join("link.yaml");
    std::os::unix::fs::symlink(folder.join("real/hosts.yaml"), &link).unwrap();
    assert_eq!(fmt(root.path(), &["link.yaml"], "").code, Some(0));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(
        fs::read_to_string(folder.join("real/hosts.yaml")).unwrap(),
        CANONICAL
    );
}

#[test]
fn a_link_out_of_the_folder_is_not_followed() {
    let (root, folder) = policies(&[("good.yaml", OTHER)]);
    for (target, link) in [("elsewhere.yaml", "out.yaml"), ("elsewhere", "out")] {
        let target = root.path().join(target);
        if target.extension().is_some() {
            fs::write(&target, OTHER).unwrap();
        } else {
            fs::create_dir(&target).unwrap();
            fs::write(target.join("a.yaml"), OTHER).unwrap();
        }
        let link = folder.join(link);
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let said = fmt(root.path(), &[], "");
        assert_eq!(said.code, Some(2), "{}{}", said.out, said.err);
        assert!(said.err.contains("a link out of the folder"), "{}", said.err);
        fs::remove_file(link).unwrap();
    }
    for untouched in ["elsewhere.yaml", "elsewhere/a.yaml", "policies/good.yaml"] {
        assert_eq!(fs::read_to_string(root.path().join(untouched)).unwrap(), OTHER);
    }
}

#[test]
fn a_check_shows_no_secret() {
    let text = "password:   hunter2\nclient_secret:\n  hunter3\nkeys: |\n  -----BEGIN KEY-----\n  MC4C\n  -----END KEY-----\nhosts:   [a.example]\n";
    let (root, _folder) = policies(&[("a.yaml", text)]);
    for (arguments, input) in [(&["--check"][..], ""), (&["--check", "-"], text)] {
        let said = fmt(root.path(), arguments, input);
        assert_eq!(said.code, Some(1), "{}", said.err);
        for secret in ["hunter2", "hunter3", "MC4C"] {
            assert!(!said.out.contains(secret), "{}", said.out);
        }
        assert!(said.out.contains("-hosts:   [a.example]\n"), "{}", said.out);
        assert!(
            said.out.contains("(not shown: it looks like a secret)"),
            "{}",
            said.out
        );
    }
}

#[test]
fn a_check_says_when_only_hidden_lines_differ() {
    let text = "version: 1\npassword:   hunter2\n";
    let (root, _folder) = policies(&[("a.yaml", text)]);
    for (arguments, input) in [(&["--check"][..], ""), (&["--check", "-"], text)] {
        let said = fmt(root.path(), arguments, input);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(
            said.out.contains("only lines differ that are not shown") && !said.out.contains("hunter2"),
            "{}",
            said.out
        );
    }
}

#[test]
fn an_owner_that_cannot_be_kept_is_named_and_the_file_stays() {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        skips::skip("only root can make a file of another owner");
        return;
    }
    let (root, folder) = policies(&[("hosts.yaml", OTHER)]);
    for place in [root.path(), &folder] {
        std::os::unix::fs::chown(place, Some(65534), Some(65534)).unwrap();
    }
    // The binary of the tests may lie where only root may go.
    let portico = root.path().join("portico");
    fs::copy(env!("CARGO_BIN_EXE_portico"), &portico).unwrap();
    let output = Command::new(portico)
        .args(["policy", "fmt"])
        .current_dir(root.path())
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("hosts.yaml: its owner (user 0, group 0) cannot be kept"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(folder.join("hosts.yaml")).unwrap(), OTHER);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "nothing is left beside");
}

#[test]
fn an_editor_pipes_a_file_through() {
    let root = tempfile::tempdir().unwrap();
    let said = fmt(root.path(), &["-"], OTHER);
    assert_eq!(
        (said.code, said.out.as_str()),
        (Some(0), CANONICAL),
        "{}",
        said.err
    );
    let said = fmt(root.path(), &["-", "--check"], OTHER);
    assert_eq!(said.code, Some(1));
    assert_eq!(fmt(root.path(), &["-", "--check"], CANONICAL).code, Some(0));
    // No output that an editor could take for the file.
    let said = fmt(root.path(), &["-"], "a: 1\na: 2\n");
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    assert!(said.err.contains("P1003"), "{}", said.err);
}

#[test]
fn what_cannot_be_read_is_2_and_nothing_is_written() {
    let (root, folder) = policies(&[("good.yaml", OTHER)]);
    for arguments in [
        &["policies", "no-such-file"][..],
        &["-", "policies"],
        &["/dev/null"],
    ] {
        let said = fmt(root.path(), arguments, "");
        assert_eq!(said.code, Some(2), "{arguments:?}: {}{}", said.out, said.err);
    }
    fs::write(folder.join("latin.yaml"), b"# caf\xe9\n").unwrap();
    let said = fmt(root.path(), &[], "");
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("latin.yaml: not UTF-8"), "{}", said.err);
    assert_eq!(fs::read_to_string(folder.join("good.yaml")).unwrap(), OTHER);
}
