//! File events of folders that may be put into place as a whole: by a rename, or by turning a link on the way to them.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};
use tokio::sync::Notify;

/// Events that follow each other within this time are one change.
const QUIET: Duration = Duration::from_millis(50);
/// Links that lead on to links; the kernel follows no more of them.
const MAX_LINKS: usize = 40;

/// Events of some folders, as they stand at the moment: a watch stays with the folder that it was put on, so that
/// whoever looks at a folder again first takes new ones. Dropping this ends them.
pub(super) struct FileEvents {
    _debouncer: Debouncer<RecommendedWatcher, RecommendedCache>,
    /// What cannot be watched, though it is there.
    pub(super) fault: Option<notify::Error>,
}

impl FileEvents {
    /// Wakes `changed` for each change below the folders, of the folders themselves, and of links on the way to them.
    ///
    /// # Errors
    /// When there are no file events here at all.
    pub(super) fn of(folders: &[(&Path, RecursiveMode)], changed: Arc<Notify>) -> notify::Result<Self> {
        let ways: Vec<_> = folders.iter().map(|(folder, _)| way(folder)).collect();
        let entries: Vec<PathBuf> = ways.concat();
        let told = entries.clone();
        let mut debouncer = new_debouncer(QUIET, None, move |result: DebounceEventResult| {
            if result.map_or(true, |events| events.iter().any(|event| concerns(event, &told))) {
                changed.notify_one();
            }
        })?;
        // The folders last: one that is also the parent of another is watched in its own mode.
        let parents = entries.iter().filter_map(|entry| entry.parent());
        let parents = parents.map(|parent| (parent, RecursiveMode::NonRecursive));
        let real = ways.iter().zip(folders);
        let real = real.filter_map(|(way, (_, mode))| Some((way.last()?.as_path(), *mode)));
        let mut fault = None;
        for (path, mode) in parents.chain(real) {
            // What is not there yet shows in its parent.
            if let Err(error) = debouncer.watch(path, mode)
                && path.exists()
            {
                fault = Some(error);
            }
        }
        Ok(Self {
            _debouncer: debouncer,
            fault,
        })
    }
}

/// The links on the way to a folder, in the order in which they are followed, and last the folder itself.
fn way(folder: &Path) -> Vec<PathBuf> {
    let mut entries = Vec::new();
    let mut here = PathBuf::new();
    let mut rest = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    loop {
        let mut components = rest.components();
        let Some(component) = components.next() else {
            break;
        };
        let after = components.as_path().to_owned();
        if component == Component::ParentDir {
            here.pop();
            rest = after;
            continue;
        }
        let entry = here.join(component);
        match fs::read_link(&entry) {
            Ok(target) if entries.len() < MAX_LINKS => {
                rest = target.join(after);
                entries.push(entry);
            }
            _ => {
                here = entry;
                rest = after;
            }
        }
    }
    entries.push(here);
    entries
}

/// The parent of a folder holds other things, and reading is an event too: neither is a reason to look again.
fn concerns(event: &Event, entries: &[PathBuf]) -> bool {
    let is_read = matches!(
        event.kind,
        EventKind::Access(AccessKind::Open(_) | AccessKind::Read | AccessKind::Close(AccessMode::Read))
    );
    let is_ours = |path: &PathBuf| {
        entries
            .iter()
            .any(|entry| path.starts_with(entry) || entry.starts_with(path))
    };
    !is_read && (event.need_rescan() || event.paths.iter().any(is_ours))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use notify::event::{CreateKind, Flag};

    use super::*;

    #[test]
    fn the_way_names_each_link_and_ends_at_the_real_folder() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir_all(root.join("releases/1/policies")).unwrap();
        symlink("releases/1", root.join("current")).unwrap();
        symlink(root.join("releases/../current"), root.join("live")).unwrap();
        assert_eq!(
            way(&root.join("live/./policies")),
            [
                root.join("live"),
                root.join("current"),
                root.join("releases/1/policies")
            ]
        );
        assert_eq!(way(&root.join("releases")), [root.join("releases")]);

        symlink("nowhere", root.join("dangling")).unwrap();
        assert_eq!(
            way(&root.join("dangling")),
            [root.join("dangling"), root.join("nowhere")]
        );
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(way(&root.join("loop")).len(), MAX_LINKS + 1);
    }

    #[test]
    fn only_a_change_of_what_is_watched_is_a_reason_to_look() {
        let entries = [PathBuf::from("/srv/policies")];
        let created = |path: &str| Event::new(EventKind::Create(CreateKind::Any)).add_path(path.into());
        assert!(concerns(&created("/srv/policies/base.yaml"), &entries));
        assert!(concerns(&created("/srv/policies"), &entries));
        assert!(concerns(&created("/srv"), &entries), "its parent was replaced");
        assert!(!concerns(&created("/srv/policies-old"), &entries));
        assert!(!concerns(&created("/srv/state"), &entries));

        let opened = Event::new(EventKind::Access(AccessKind::Open(AccessMode::Any)));
        assert!(!concerns(&opened.add_path("/srv/policies".into()), &entries));
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(concerns(&lost, &entries), "events were lost");
    }
}
