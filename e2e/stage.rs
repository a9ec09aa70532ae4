//! Where a story takes place: a folder that goes away, and a Portico in it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use trial::{FrontDoor, Launch, System};

/// The binary that was built for these tests.
pub(crate) const PORTICO: &str = env!("CARGO_BIN_EXE_portico");

/// A folder for one story; removed at its end.
pub(crate) struct Stage {
    folder: TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("portico-e2e-").tempdir().unwrap();
        // Started by root, the database server is another user who must pass through here.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        copy_tree(&shipped_policies(), &folder.path().join("policies"));
        Self { folder }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A copy of the shipped policies that the story may edit.
    pub(crate) fn policies(&self) -> PathBuf {
        self.folder.path().join("policies")
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) async fn start(&self) -> (System, FrontDoor) {
        self.start_with(Vec::new()).await
    }

    /// Starts with settings of its services that differ.
    pub(crate) async fn start_with(&self, variables: Vec<(&'static str, String)>) -> (System, FrontDoor) {
        let launch = Launch {
            binary: PORTICO.into(),
            data_dir: self.data_dir(),
            policies: self.policies(),
            environment: "development",
            variables,
        };
        let system = System::start(launch).await.unwrap();
        let door = FrontDoor::of(system.endpoints()).unwrap();
        (system, door)
    }
}

fn shipped_policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies")
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
