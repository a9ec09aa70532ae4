//! Names that an order is under way for: the records of two orders for one name would meet in the DNS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// Whose turn it is, by name.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<BTreeMap<String, Arc<Turn<()>>>>);

impl Names {
    /// Waits until nobody else has any of these names; they are held for as long as the guards live.
    pub(super) async fn hold(&self, names: &[String]) -> Vec<OwnedMutexGuard<()>> {
        // In one order for everybody, or two could wait for each other.
        let turns: BTreeMap<String, Arc<Turn<()>>> = {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let mut turn = |name: &String| (name.clone(), known.entry(name.clone()).or_default().clone());
            names.iter().map(&mut turn).collect()
        };
        let mut held = Vec::with_capacity(turns.len());
        for turn in turns.into_values() {
            held.push(turn.lock_owned().await);
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn one_name_is_held_once_and_others_need_not_wait() {
        let names = Names::default();
        let first = names.hold(&of(&["b.example", "a.example"])).await;
        assert_eq!(names.hold(&of(&["c.example"])).await.len(), 1);
        let second = of(&["c.example", "a.example"]);
        let mut second = std::pin::pin!(names.hold(&second));
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        assert_eq!(second.await.len(), 2);
    }
}
