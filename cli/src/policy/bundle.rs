//! Where a bundle to compare comes from: a directory, a revision in git, or the running gateway.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ::policy::cases::FOLDER;
use ::policy::{Diagnostic, Plan, Refusal, Rule, SourceFile, render};
use gateway::PolicyFileRole;
use service_runtime::settings::variable;

use super::{RunningArguments, files};
use crate::Unreadable;
use crate::arguments::FindingsFormat;
use crate::data_directory::DataDirectory;
use crate::up::Endpoints;

/// The files of one side, and what to write before their names.
#[derive(Debug, Clone)]
pub(super) struct Bundle {
    /// As it was asked for.
    pub(super) name: String,
    prefix: String,
    pub(super) files: Vec<SourceFile>,
    /// Where a gateway keeps it, when it is what that gateway last put in force.
    kept: Option<PathBuf>,
}

impl Bundle {
    /// `git:REV`, `git:REV:PATH` or a directory. `beside` is the directory that `git:REV` means.
    pub(super) fn open(written: &str, beside: &Path) -> Result<Self, Unreadable> {
        let Some(revision) = written.strip_prefix("git:") else {
            return Ok(Self {
                name: written.to_owned(),
                prefix: format!("{}/", written.trim_end_matches('/')),
                files: files::read(Path::new(written))?,
                kept: None,
            });
        };
        let (files, prefix) = match revision.split_once(':') {
            Some((revision, path)) => (
                from_git(Path::new("."), revision, path)?,
                format!("git:{revision}:{}/", path.trim_end_matches('/')),
            ),
            None => (from_git(beside, revision, "./")?, format!("git:{revision}:")),
        };
        if files.is_empty() {
            return Err(Unreadable(format!("{written}: no policy files (*.yaml)")));
        }
        Ok(Self {
            name: written.to_owned(),
            prefix,
            files,
            kept: None,
        })
    }

    /// What a gateway last put in force, and the environment of its system while `portico up` runs it. A gateway that
    /// runs by itself tells its environment to nobody.
    pub(super) fn running(arguments: &RunningArguments) -> Result<(Self, Option<String>), Unreadable> {
        let unreadable = |error: anyhow::Error| Unreadable(format!("{error:#}"));
        let (kept, environment) = match &arguments.state_dir {
            Some(state_dir) => (state_dir.clone(), None),
            None => {
                let directory = DataDirectory::open(&arguments.data_dir).map_err(unreadable)?;
                let endpoints = Endpoints::read(&directory.endpoints());
                (
                    directory.gateway(),
                    endpoints.map(|endpoints| endpoints.environment),
                )
            }
        };
        let files = gateway::read_last_good_policies(&kept).map_err(unreadable)?;
        let files = files.ok_or_else(|| {
            Unreadable(format!(
                "no gateway has put a policy in force in {}: --data-dir is the data directory of `portico up`, and \
                 --state-dir the `state_dir` of a gateway that runs by itself; or compare with a directory or git:REV",
                kept.display()
            ))
        })?;
        let bundle = Self {
            name: "running".to_owned(),
            prefix: "running:".to_owned(),
            files,
            kept: Some(kept),
        };
        Ok((bundle, environment))
    }

    /// Its name, and what that means.
    pub(super) fn in_words(&self) -> String {
        match &self.kept {
            Some(kept) => format!(
                "{}: what the gateway last put in force, kept in {}",
                self.name,
                kept.display()
            ),
            None => self.name.clone(),
        }
    }

    /// What people must know of it beside an answer, on a line of its own.
    pub(super) fn remark(&self) -> Option<String> {
        self.kept.as_ref().map(|_| format!("\n{}", self.in_words()))
    }

    /// What `show` and `explain` are asked about: a directory or what runs, and the environment that counts.
    pub(super) fn chosen(
        directory: Option<&Path>,
        running: &RunningArguments,
        environment: Option<&str>,
    ) -> Result<(Self, String), Unreadable> {
        let (bundle, of_system) = if running.running {
            Self::running(running)?
        } else {
            let directory = directory.unwrap_or(Path::new("policies"));
            (
                Self::open(&directory.to_string_lossy(), Path::new("policies"))?,
                None,
            )
        };
        let environment = environment.map(str::to_owned).or(of_system);
        let ambient = || variable("APP_ENV").filter(|name| !name.is_empty());
        let environment = environment
            .or_else(ambient)
            .unwrap_or_else(|| "production".to_owned());
        Ok((bundle, environment))
    }

    /// Compiles it.
    ///
    /// # Errors
    /// [`Unreadable`] with every finding.
    pub(super) fn compile(&self, environment: &str) -> Result<Plan, Unreadable> {
        ::policy::compile(&self.files, environment).map_err(|findings| self.refused(&findings, environment))
    }

    /// What to say of a bundle that does not compile.
    pub(super) fn refused(&self, findings: &[Diagnostic], environment: &str) -> Unreadable {
        // Programs get an object with the error, not findings.
        if let Err(unknown) = files::known_environment(environment, &self.files, FindingsFormat::Human) {
            return Unreadable(format!("{}: {}", self.name, unknown.0));
        }
        let findings = render::human(findings, &self.files);
        Unreadable(format!(
            "{} does not compile for {environment}, so it decides nothing\n{}",
            self.name,
            findings.trim_end()
        ))
    }

    /// `policies/floor.yaml:7`.
    pub(super) fn place(&self, rule: &Rule) -> String {
        match (rule.file(), rule.line()) {
            (Some(file), Some(line)) => format!("{}{file}:{line}", self.prefix),
            _ => rule.to_string(),
        }
    }

    /// The environments that have an overlay, and production, which needs none.
    pub(super) fn environments(&self) -> impl Iterator<Item = &str> {
        let names = self
            .files
            .iter()
            .filter_map(|file| file.name.strip_prefix("environments/")?.strip_suffix(".yaml"));
        names.chain(["production"])
    }
}

/// Every policy file below `path` at a revision. Nothing is checked out.
fn from_git(directory: &Path, revision: &str, path: &str) -> Result<Vec<SourceFile>, Unreadable> {
    // Git would read it as an option.
    if revision.is_empty() || revision.starts_with('-') {
        return Err(Unreadable(format!("git:{revision}: not a revision")));
    }
    let commit = format!("{revision}^{{commit}}");
    let commit = git(directory, &["rev-parse", "--verify", "--quiet", &commit])?
        .ok_or_else(|| Unreadable(format!("git:{revision}: no such revision in this repository")))?;
    let tree = format!("{}:{path}", commit.trim());
    let listing = git(directory, &["ls-tree", "-r", "-z", "--full-tree", &tree])?.ok_or_else(|| {
        Unreadable(format!(
            "git:{revision}: `{path}` is no directory at this revision"
        ))
    })?;
    let mut files = Vec::new();
    for entry in listing.split('\0').filter(|entry| !entry.is_empty()) {
        let Some((about, name)) = entry.split_once('\t') else {
            continue;
        };
        let is_hidden = name.split('/').any(|part| part.starts_with('.'));
        let role = gateway::policy_file_role(name.rsplit('/').next().unwrap_or(name));
        let is_case = name.split('/').next() == Some(FOLDER);
        if is_hidden || is_case || role == PolicyFileRole::LeftOut {
            continue;
        }
        let [mode, _, object] = about.split(' ').collect::<Vec<_>>()[..] else {
            continue;
        };
        let text = git(directory, &["cat-file", "blob", object])?.filter(|_| mode.starts_with("100"));
        files.push(match text {
            _ if role == PolicyFileRole::Stray => SourceFile::refused(name, Refusal::WrongName),
            Some(text) => SourceFile::new(name, text),
            None => SourceFile::refused(name, Refusal::NotAFile("a link")),
        });
    }
    Ok(files)
}

/// What git prints; `None` when it fails.
fn git(directory: &Path, arguments: &[&str]) -> Result<Option<String>, Unreadable> {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(arguments)
        // Set in a hook of another repository, they would decide instead of the directory.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Unreadable("git is not installed: compare with a directory".to_owned()),
            _ => Unreadable(format!("cannot run git: {error}")),
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("not a git repository") {
            return Err(Unreadable(format!(
                "{}: not in a git repository",
                directory.display()
            )));
        }
        return Ok(None);
    }
    String::from_utf8(output.stdout)
        .map(Some)
        .map_err(|_| Unreadable("git printed what is not UTF-8".to_owned()))
}
