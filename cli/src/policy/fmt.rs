//! `portico policy fmt`: policy files in their canonical form.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ::policy::{Diagnostic, SourceFile, Unformatted, render};
use anyhow::Context as _;
use similar::TextDiff;

use crate::arguments::PolicyFmtArguments;
use crate::{Outcome, Unreadable, durable_file, output};

/// The gateway reads no larger file either.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
const MAX_DEPTH: usize = 8;

pub(crate) fn run(arguments: &PolicyFmtArguments) -> anyhow::Result<Outcome> {
    let is_stream = |path: &PathBuf| path.as_os_str() == "-";
    if !arguments.paths.iter().any(is_stream) {
        return in_place(&arguments.paths, arguments.check);
    }
    if arguments.paths.len() > 1 {
        return Err(Unreadable("`-` is standard input and stands alone".to_owned()).into());
    }
    stream(arguments.check)
}

/// From standard input to standard output: what is not formatted gives no output.
fn stream(is_check: bool) -> anyhow::Result<Outcome> {
    let file = read_from("standard input", io::stdin().lock())?;
    let text = match formatted(&file)? {
        Ok(text) => text,
        Err(found) => {
            output::fault(render::human(&found, &[file]).trim_end());
            return Ok(Outcome::Findings);
        }
    };
    if !is_check {
        output::document(&text).context("writing standard output")?;
        return Ok(Outcome::Done);
    }
    if text == file.text {
        return Ok(Outcome::Done);
    }
    output::line(difference(&file, &text).trim_end());
    Ok(Outcome::Findings)
}

fn in_place(paths: &[PathBuf], is_check: bool) -> anyhow::Result<Outcome> {
    let files = read(paths)?;
    let (mut changes, mut findings) = (Vec::new(), Vec::new());
    // All of them before the first is written: a bug leaves everything as it is.
    for (path, file) in &files {
        match formatted(file)? {
            Ok(text) if text == file.text => {}
            Ok(text) => changes.push((path.as_path(), file, text)),
            Err(found) => findings.extend(found),
        }
    }
    let mut is_done = findings.is_empty();
    for (path, file, text) in &changes {
        if is_check {
            output::line(difference(file, text).trim_end());
            is_done = false;
        } else {
            is_done &= write(path, file, text)?;
        }
    }
    let count = files.len();
    if is_check && !changes.is_empty() {
        output::line(&format!(
            "\n{} of {count} policy files would change: portico policy fmt",
            changes.len()
        ));
    }
    if !findings.is_empty() {
        let sources: Vec<SourceFile> = files.values().cloned().collect();
        output::line(render::human(&findings, &sources).trim_end());
        output::line("\nwhat is not valid YAML is left as it is");
    }
    if !is_done {
        return Ok(Outcome::Findings);
    }
    output::line(&format!("{count} policy files are in canonical form"));
    Ok(Outcome::Done)
}

/// Writes one file, unless someone else did meanwhile.
fn write(path: &Path, file: &SourceFile, text: &str) -> anyhow::Result<bool> {
    let is_written = durable_file::rewrite(path, file.text.as_bytes(), text.as_bytes())?;
    if is_written {
        output::line(&format!("formatted {}", file.name));
    } else {
        output::fault(&format!(
            "{} changed meanwhile and is left as it is: run this again",
            file.name
        ));
    }
    Ok(is_written)
}

/// The canonical text, or why there is none.
fn formatted(file: &SourceFile) -> Result<Result<String, Vec<Diagnostic>>, Unreadable> {
    match ::policy::format(file) {
        Ok(text) => Ok(Ok(text)),
        Err(Unformatted::Findings(found)) => Ok(Err(found)),
        Err(Unformatted::Fault(fault)) => Err(Unreadable(format!(
            "{}: {fault}; this is a bug in portico, and nothing was written: please report it with the file",
            file.name
        ))),
    }
}

fn difference(file: &SourceFile, text: &str) -> String {
    let (old, new) = (render::without_secrets(&file.text), render::without_secrets(text));
    if old == new {
        return format!(
            "{}: only lines differ that are not shown, because they look like secrets",
            file.name
        );
    }
    let difference = TextDiff::from_lines(&old, &new)
        .unified_diff()
        .header(&file.name, &format!("{} (canonical)", file.name))
        .to_string();
    // A policy file is not trusted to hold text that is safe for a terminal.
    let is_safe = |letter: char| matches!(letter, '\n' | '\t') || !letter.is_control();
    difference.replace(|letter| !is_safe(letter), "\u{fffd}")
}

/// Every file that is named or below a directory that is, once, by its place on disk.
fn read(paths: &[PathBuf]) -> Result<BTreeMap<PathBuf, SourceFile>, Unreadable> {
    let mut files = BTreeMap::new();
    for path in paths {
        let mut found = Vec::new();
        if path.is_dir() {
            let root = fs::canonicalize(path).map_err(|error| unreadable(path, &error))?;
            find(path, &root, 0, &mut found)?;
            if found.is_empty() {
                return Err(Unreadable(format!(
                    "{}: no policy files (*.yaml)",
                    path.display()
                )));
            }
        } else {
            found.push(path.clone());
        }
        for path in found {
            // Through a symbolic link: the file is rewritten, the link stays.
            let target = fs::canonicalize(&path).map_err(|error| unreadable(&path, &error))?;
            if !target.is_file() {
                return Err(Unreadable(format!("{}: not a regular file", path.display())));
            }
            let open = fs::File::open(&target).map_err(|error| unreadable(&path, &error))?;
            files.insert(target, read_from(&path.display().to_string(), open)?);
        }
    }
    Ok(files)
}

/// Finds what the gateway would read, and the cases of `policy test`. A link out of `root` is refused: the gateway reads
/// none, and whoever formats a folder does not expect a file elsewhere to change.
fn find(directory: &Path, root: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), Unreadable> {
    if depth > MAX_DEPTH {
        return Err(Unreadable(format!(
            "{}: more than {MAX_DEPTH} directories deep",
            directory.display()
        )));
    }
    let failed = |error: io::Error| unreadable(directory, &error);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let is_policy = path.extension().is_some_and(|extension| extension == "yaml");
        if !path.is_dir() && !is_policy {
            continue;
        }
        let target = fs::canonicalize(&path).map_err(|error| unreadable(&path, &error))?;
        if !target.starts_with(root) {
            let path = path.display();
            return Err(Unreadable(format!(
                "{path}: a link out of the folder, which the gateway does not read"
            )));
        }
        if path.is_dir() {
            find(&path, root, depth.saturating_add(1), found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn read_from(name: &str, reader: impl Read) -> Result<SourceFile, Unreadable> {
    let mut bytes = Vec::new();
    let limit = MAX_FILE_BYTES.saturating_add(1);
    let read = reader.take(limit).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(Path::new(name), &error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length == limit) {
        return Err(Unreadable(format!("{name}: larger than {MAX_FILE_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| Unreadable(format!("{name}: not UTF-8")))?;
    Ok(SourceFile::new(name, text))
}

fn unreadable(path: &Path, error: &io::Error) -> Unreadable {
    Unreadable(format!("cannot read {}: {error}", path.display()))
}
