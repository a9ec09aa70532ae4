//! The threads that hash passwords: a few, with a bounded queue, so that log-ins cannot starve the API (IDN-1).
//!
//! **Invariant:** at most `max_parallel` hashes run, whatever clients do. The worker owns its job from start to end; a
//! client that hangs up frees nothing and starts nothing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::Block;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::password_hash::{Comparison, HashError, Recipe};
use crate::metrics;

/// Why there is no answer of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PoolError {
    /// The queue is full, or the deadline is over: try again soon.
    #[error("too many passwords are being checked")]
    Busy,
    /// Hashing itself failed.
    #[error(transparent)]
    Hash(#[from] HashError),
}

enum Job {
    Hash {
        password: Zeroizing<String>,
        reply: oneshot::Sender<Result<String, HashError>>,
    },
    Compare {
        password: Zeroizing<String>,
        stored: String,
        reply: oneshot::Sender<Result<Comparison, HashError>>,
    },
}

/// A handle on the pool. The threads end when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct HashPool {
    queue: SyncSender<Job>,
    waiting: Arc<AtomicI64>,
    deadline: Duration,
    /// The hash of a password nobody has: what an unknown address is compared with.
    nobody: Arc<str>,
}

impl std::fmt::Debug for HashPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashPool").finish_non_exhaustive()
    }
}

impl HashPool {
    /// Starts the threads. `max_parallel` 0 means one fewer than the cores.
    pub(crate) fn start(
        recipe: &Recipe,
        max_parallel: usize,
        queue: usize,
        deadline: Duration,
    ) -> anyhow::Result<Self> {
        let threads = match max_parallel {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1)),
            set => set,
        };
        let mut nothing = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut nothing).map_err(|_| HashError::Library)?;
        let nobody = recipe.hash(&format!("{nothing:?}"), &mut Vec::new())?;
        let (sender, receiver) = sync_channel(queue);
        let receiver = Arc::new(Mutex::new(receiver));
        let waiting = Arc::new(AtomicI64::new(0));
        for number in 0..threads {
            let (recipe, receiver, waiting) = (recipe.clone(), Arc::clone(&receiver), Arc::clone(&waiting));
            std::thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || work(&recipe, &receiver, &waiting))?;
        }
        Ok(Self {
            queue: sender,
            waiting,
            deadline,
            nobody: nobody.into(),
        })
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: Zeroizing<String>) -> Result<String, PoolError> {
        let (reply, answer) = oneshot::channel();
        self.enqueue(Job::Hash { password, reply })?;
        self.wait(answer).await
    }

    /// Compares a password with a stored hash. Without one, an unknown address, it costs the same and never matches.
    pub(crate) async fn compare(
        &self,
        password: Zeroizing<String>,
        stored: Option<String>,
    ) -> Result<Comparison, PoolError> {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.to_string());
        let (reply, answer) = oneshot::channel();
        self.enqueue(Job::Compare {
            password,
            stored,
            reply,
        })?;
        let comparison = self.wait(answer).await?;
        Ok(if known {
            comparison
        } else {
            Comparison {
                matches: false,
                renewed: None,
            }
        })
    }

    fn enqueue(&self, job: Job) -> Result<(), PoolError> {
        metrics::hash_queue_depth(self.waiting.fetch_add(1, Ordering::Relaxed).saturating_add(1));
        self.queue.try_send(job).map_err(|refused| {
            metrics::hash_queue_depth(self.waiting.fetch_sub(1, Ordering::Relaxed).saturating_sub(1));
            metrics::hash_shed();
            match refused {
                TrySendError::Full(_) | TrySendError::Disconnected(_) => PoolError::Busy,
            }
        })
    }

    async fn wait<T>(&self, answer: oneshot::Receiver<Result<T, HashError>>) -> Result<T, PoolError> {
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_)) => Err(PoolError::Busy),
            Err(_) => {
                metrics::hash_shed();
                Err(PoolError::Busy)
            }
        }
    }
}

fn work(recipe: &Recipe, receiver: &Mutex<Receiver<Job>>, waiting: &AtomicI64) {
    // Kept from hash to hash: tens of megabytes are not mapped and zeroed each time.
    let mut memory: Vec<Block> = Vec::new();
    loop {
        let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        metrics::hash_queue_depth(waiting.fetch_sub(1, Ordering::Relaxed).saturating_sub(1));
        match job {
            // Whoever asked has gone: the work would be for nobody.
            Job::Hash { reply, .. } if reply.is_closed() => {}
            Job::Compare { reply, .. } if reply.is_closed() => {}
            Job::Hash { password, reply } => drop(reply.send(recipe.hash(&password, &mut memory))),
            Job::Compare {
                password,
                stored,
                reply,
            } => {
                drop(reply.send(recipe.compare(&password, &stored, &mut memory)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;

    fn pool(queue: usize, iterations: u32) -> HashPool {
        let recipe = Recipe::new(4_096, iterations, b"pepper");
        HashPool::start(&recipe, 1, queue, Duration::from_secs(30)).unwrap()
    }

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn an_unknown_address_is_compared_and_never_matches() {
        let pool = pool(4, 1);
        let stored = pool.hash(secret("right")).await.unwrap();
        assert!(pool.compare(secret("right"), Some(stored)).await.unwrap().matches);
        assert!(!pool.compare(secret("right"), None).await.unwrap().matches);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_the_rest_is_served() {
        let pool = pool(2, 2);
        let answers = join_all((0..40).map(|_| pool.hash(secret("password")))).await;
        let busy = answers
            .iter()
            .filter(|answer| **answer == Err(PoolError::Busy))
            .count();
        assert!((30..40).contains(&busy), "{busy} of 40 were refused");
        assert!(pool.hash(secret("password")).await.is_ok());
    }

    #[tokio::test]
    async fn whoever_hangs_up_frees_no_thread_and_leaks_no_place() {
        let pool = pool(2, 1);
        for _ in 0..10 {
            let mut gone = Box::pin(pool.hash(secret("password")));
            assert!(futures::poll!(&mut gone).is_pending() || pool.waiting.load(Ordering::Relaxed) >= 0);
            drop(gone);
        }
        // The queue drains by itself; once it has, everything is as before.
        let mut tries = 0;
        while pool.hash(secret("password")).await.is_err() {
            tries += 1;
            assert!(tries < 1_000_000, "the queue never drained");
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.waiting.load(Ordering::Relaxed), 0);
    }
}
