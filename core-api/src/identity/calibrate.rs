//! What Argon2id may cost on this machine.

use std::time::{Duration, Instant};

use super::password_hash::Recipe;

/// Memory of a hash in production, KiB; with it, one pass is the floor of OWASP.
const MEMORY_KIB: u32 = 47_104;
/// The least that OWASP allows: (KiB, passes).
const FLOOR: (u32, u32) = (19_456, 2);
/// Memory beyond which calibration does not go, KiB, and its steps on the way there.
const MAX_MEMORY_KIB: u32 = 65_536;
const MEMORY_STEP_KIB: u32 = 4_096;
/// Passes that stored hashes may have.
const MAX_ITERATIONS: u32 = 10;
/// Hashes of one measurement; the median counts.
const SAMPLES: usize = 5;

/// A cost, and what a hash of that cost takes here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calibration {
    /// Memory of one hash, KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// The median of a few hashes on one thread.
    pub took: Duration,
}

/// Finds the highest cost whose hash takes no longer than `target`: more passes first, then more memory up to 64 MiB. When even
/// the floor of OWASP takes longer, it is the floor.
///
/// # Errors
///
/// When the system gives no random numbers or the library refuses.
pub fn calibrate(target: Duration) -> anyhow::Result<Calibration> {
    choose(target, measure)
}

fn measure((memory_kib, iterations): (u32, u32)) -> anyhow::Result<Duration> {
    let recipe = Recipe::new(memory_kib, iterations, b"calibration");
    let mut memory = Vec::new();
    recipe.hash("the first one touches the memory", &mut memory)?;
    let mut samples = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let begun = Instant::now();
        recipe.hash("correct horse battery", &mut memory)?;
        samples.push(begun.elapsed());
    }
    samples.sort_unstable();
    Ok(samples.get(SAMPLES / 2).copied().unwrap_or_default())
}

fn choose(
    target: Duration,
    mut measure: impl FnMut((u32, u32)) -> anyhow::Result<Duration>,
) -> anyhow::Result<Calibration> {
    let mut at = |memory_kib, iterations| {
        measure((memory_kib, iterations)).map(|took| Calibration {
            memory_kib,
            iterations,
            took,
        })
    };
    let mut best = at(MEMORY_KIB, 1)?;
    if best.took > target {
        return at(FLOOR.0, FLOOR.1);
    }
    while best.iterations < MAX_ITERATIONS {
        let next = at(MEMORY_KIB, best.iterations.saturating_add(1))?;
        if next.took > target {
            break;
        }
        best = next;
    }
    while best.memory_kib < MAX_MEMORY_KIB {
        let more = best
            .memory_kib
            .saturating_add(MEMORY_STEP_KIB)
            .min(MAX_MEMORY_KIB);
        let next = at(more, best.iterations)?;
        if next.took > target {
            break;
        }
        best = next;
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which a MiB takes so many microseconds for each pass.
    fn chosen(target_ms: u64, micros: u64) -> (u32, u32) {
        let took = |(memory_kib, passes): (u32, u32)| {
            Ok(Duration::from_micros(
                u64::from(memory_kib) / 1_024 * u64::from(passes) * micros,
            ))
        };
        let best = choose(Duration::from_millis(target_ms), took).unwrap();
        (best.memory_kib, best.iterations)
    }

    #[test]
    fn passes_are_raised_first_and_then_memory() {
        // 46 MiB: 46 ms for each pass, four of them are 184 ms; with 50 MiB they are 200 ms.
        assert_eq!(chosen(200, 1_000), (51_200, 4));
        assert_eq!(chosen(190, 1_000), (47_104, 4));
        assert_eq!(chosen(46, 1_000), (47_104, 1));
        assert_eq!(chosen(100_000, 1_000), (65_536, 10));
    }

    #[test]
    fn the_floor_is_never_left() {
        assert_eq!(chosen(45, 1_000), FLOOR);
        assert_eq!(chosen(1, 1_000), FLOOR);
    }

    #[test]
    fn a_hash_is_measured() {
        assert!(measure((64, 1)).unwrap() > Duration::ZERO);
    }
}
