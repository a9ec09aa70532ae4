//! What a process holds in memory stays there: no core file, and no other process of the same user may look into it.

#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Forbids core files for this process and what it starts, and keeps debuggers of its own user out (`PR_SET_DUMPABLE`).
/// Must run before secrets are read. Elsewhere than on Linux, only core files are forbidden.
///
/// # Errors
/// When the operating system refuses.
pub fn keep_to_itself() -> std::io::Result<()> {
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, nothing)?;
    #[cfg(target_os = "linux")]
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
