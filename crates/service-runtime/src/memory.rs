//! Keeping what is in the memory of a process out of files and away from other processes.

use anyhow::Context as _;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Forbids core dumps of this process, and reading its memory by others of the same user: for processes that hold private
/// keys. Must run before the first key is read.
///
/// # Errors
///
/// When the kernel refuses; such a process must not hold a key.
pub fn keep_private() -> anyhow::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("core dumps cannot be forbidden")
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn a_process_that_keeps_its_memory_private_is_not_dumped() {
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable);
        keep_private().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    }
}
