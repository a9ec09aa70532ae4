//! The threads that hash passwords: a few, with a bounded queue, so that log-ins cannot starve the API (IDN-1).
//!
//! **Invariant:** at most `max_parallel` hashes run, whatever clients do. The worker owns its job from start to end; a
//! client that hangs up frees nothing and starts nothing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::Block;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::password_hash::{Comparison, HashError, Recipe};
use crate::metrics;

/// Most threads that are started unasked: each costs the memory of one hash while it works.
const MAX_UNASKED: usize = 4;
/// How long the memory of a hash is kept for the next one.
const IDLE: Duration = Duration::from_secs(3);
/// A large piece in the eyes of the allocator: 1 MiB, never touched.
const NUDGE_BLOCKS: usize = 1_024;

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
    /// Starts the threads. `max_parallel` 0 means one fewer than the cores, at least one and at most [`MAX_UNASKED`].
    pub(crate) fn start(
        recipe: &Recipe,
        max_parallel: usize,
        queue: usize,
        deadline: Duration,
    ) -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (pool, worker) = Self::prepare(recipe, queue, deadline, IDLE)?;
        worker.spawn(threads(max_parallel, cores))?;
        Ok(pool)
    }

    /// The pool and what its threads run, before there is any thread.
    fn prepare(
        recipe: &Recipe,
        queue: usize,
        deadline: Duration,
        idle: Duration,
    ) -> anyhow::Result<(Self, Worker)> {
        let mut nothing = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut nothing).map_err(|_| HashError::Library)?;
        let nobody = recipe.hash(&format!("{nothing:?}"), &mut Vec::new())?;
        let (sender, receiver) = sync_channel(queue);
        let waiting = Arc::new(AtomicI64::new(0));
        let worker = Worker {
            recipe: recipe.clone(),
            receiver: Arc::new(Mutex::new(receiver)),
            waiting: Arc::clone(&waiting),
            buffers: Arc::new(Buffers {
                spare: Mutex::default(),
                idle,
            }),
        };
        let pool = Self {
            queue: sender,
            waiting,
            deadline,
            nobody: nobody.into(),
        };
        Ok((pool, worker))
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

fn threads(max_parallel: usize, cores: usize) -> usize {
    match max_parallel {
        0 => cores.saturating_sub(1).clamp(1, MAX_UNASKED),
        set => set,
    }
}

/// What a thread runs; its clones share one queue and the spare memory.
#[derive(Clone)]
struct Worker {
    recipe: Recipe,
    receiver: Arc<Mutex<Receiver<Job>>>,
    waiting: Arc<AtomicI64>,
    buffers: Arc<Buffers>,
}

impl Worker {
    fn spawn(&self, threads: usize) -> std::io::Result<()> {
        for number in 0..threads {
            let worker = self.clone();
            std::thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || while worker.serve_next() {})?;
        }
        Ok(())
    }

    /// Does the next job, or frees idle memory when none comes in time. False: the pool is gone.
    fn serve_next(&self) -> bool {
        let next = {
            let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
            receiver.recv_timeout(self.buffers.idle)
        };
        match next {
            Ok(job) => self.serve(job),
            // Only one thread waits here, the others wait for the lock: it frees for all.
            Err(RecvTimeoutError::Timeout) => {
                nudge_allocator();
                self.buffers.free_idle();
            }
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    fn serve(&self, job: Job) {
        metrics::hash_queue_depth(self.waiting.fetch_sub(1, Ordering::Relaxed).saturating_sub(1));
        match job {
            // Whoever asked has gone: the work would be for nobody.
            Job::Hash { reply, .. } if reply.is_closed() => {}
            Job::Compare { reply, .. } if reply.is_closed() => {}
            Job::Hash { password, reply } => {
                let made = self.buffers.lend(|memory| self.recipe.hash(&password, memory));
                drop(reply.send(made));
            }
            Job::Compare {
                password,
                stored,
                reply,
            } => {
                let found = self
                    .buffers
                    .lend(|memory| self.recipe.compare(&password, &stored, memory));
                drop(reply.send(found));
            }
        }
    }
}

/// Has the allocator give back to the system what was freed a while ago. mimalloc does that, after a short delay, when
/// it next looks for a large piece: in a process that has gone idle, perhaps never.
fn nudge_allocator() {
    drop(std::hint::black_box(Vec::<Block>::with_capacity(NUDGE_BLOCKS)));
}

/// The memory of hashes between two of them. A busy pool keeps it, since tens of megabytes are better not mapped and
/// zeroed each time; what nobody has used for `idle` is freed.
struct Buffers {
    /// The one used last is last, so that little work keeps little memory.
    spare: Mutex<Vec<Spare>>,
    idle: Duration,
}

struct Spare {
    memory: Vec<Block>,
    since: Instant,
}

impl Buffers {
    fn lend<T>(&self, work: impl FnOnce(&mut Vec<Block>) -> T) -> T {
        let last = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // Under steady work no wait may ever time out: what is still spare is looked at here as well.
        self.free_idle();
        let mut memory = last.map_or_else(Vec::new, |spare| spare.memory);
        let result = work(&mut memory);
        let spare = Spare {
            memory,
            since: Instant::now(),
        };
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(spare);
        result
    }

    fn free_idle(&self) {
        self.spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|spare| spare.since.elapsed() < self.idle);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures::future::join_all;

    use super::*;

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

    /// A pool whose thread is the test itself, and whose memory is idle at once.
    fn by_hand(queue: usize) -> (HashPool, Worker) {
        let recipe = Recipe::new(4_096, 1, b"pepper");
        HashPool::prepare(&recipe, queue, Duration::from_secs(30), Duration::ZERO).unwrap()
    }

    /// Blocks of each spare buffer.
    fn spare(worker: &Worker) -> Vec<usize> {
        let spare = worker.buffers.spare.lock().unwrap();
        spare.iter().map(|spare| spare.memory.len()).collect()
    }

    #[test]
    fn one_core_stays_free_and_many_cores_are_not_all_taken() {
        let unasked: Vec<usize> = [1, 2, 3, 5, 6, 64]
            .iter()
            .map(|cores| threads(0, *cores))
            .collect();
        assert_eq!(unasked, [1, 1, 2, 4, 4, 4]);
        assert_eq!((threads(1, 64), threads(9, 2)), (1, 9));
    }

    #[tokio::test]
    async fn memory_is_kept_for_the_next_job_and_freed_when_none_comes() {
        let (pool, worker) = by_hand(4);
        assert_eq!(spare(&worker), Vec::<usize>::new());
        let mut asked = Box::pin(pool.hash(secret("password")));
        assert!(futures::poll!(&mut asked).is_pending());
        assert!(worker.serve_next());
        let stored = asked.await.unwrap();
        assert_eq!(spare(&worker), [4_096]);
        // A mark: memory made anew would not have it.
        worker.buffers.spare.lock().unwrap()[0]
            .memory
            .push(Block::default());
        let mut asked = Box::pin(pool.compare(secret("password"), Some(stored)));
        assert!(futures::poll!(&mut asked).is_pending());
        assert!(worker.serve_next());
        assert!(asked.await.unwrap().matches);
        assert_eq!(spare(&worker), [4_097]);
        assert!(worker.serve_next());
        assert_eq!(spare(&worker), Vec::<usize>::new());
        drop(pool);
        assert!(!worker.serve_next());
    }

    #[tokio::test]
    async fn little_work_frees_what_a_burst_left() {
        let (pool, worker) = by_hand(4);
        for _ in 0..3 {
            worker.buffers.spare.lock().unwrap().push(Spare {
                memory: vec![Block::default(); 2],
                since: Instant::now(),
            });
        }
        let mut asked = Box::pin(pool.hash(secret("password")));
        assert!(futures::poll!(&mut asked).is_pending());
        assert!(worker.serve_next());
        asked.await.unwrap();
        assert_eq!(spare(&worker), [4_096]);
    }

    #[tokio::test]
    async fn idle_threads_free_all_memory_by_themselves() {
        let recipe = Recipe::new(4_096, 1, b"pepper");
        let deadline = Duration::from_secs(30);
        let (pool, worker) = HashPool::prepare(&recipe, 8, deadline, Duration::from_millis(1)).unwrap();
        worker.spawn(3).unwrap();
        for answer in join_all((0..6).map(|_| pool.hash(secret("password")))).await {
            answer.unwrap();
        }
        let all_freed = async {
            while !spare(&worker).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(deadline, all_freed).await.unwrap();
        assert!(pool.hash(secret("password")).await.is_ok());
    }

    #[tokio::test]
    async fn whoever_hangs_up_leaks_no_place_and_costs_no_hash() {
        let (pool, worker) = by_hand(2);
        for number in 0..10 {
            let mut gone = Box::pin(pool.hash(secret("password")));
            // Two find a place, and it stays taken until a thread has looked at it.
            match futures::poll!(&mut gone) {
                Poll::Pending => assert!(number < 2, "{number} found a place"),
                Poll::Ready(answer) => {
                    assert!(number >= 2, "{number} found no place");
                    assert_eq!(answer, Err(PoolError::Busy));
                }
            }
        }
        assert_eq!(pool.waiting.load(Ordering::Relaxed), 2);
        assert!(worker.serve_next());
        assert!(worker.serve_next());
        assert_eq!(pool.waiting.load(Ordering::Relaxed), 0);
        // No hash was made, so no memory was taken.
        assert_eq!(spare(&worker), Vec::<usize>::new());
        let mut asked = Box::pin(pool.hash(secret("password")));
        assert!(futures::poll!(&mut asked).is_pending());
        assert!(worker.serve_next());
        assert!(asked.await.is_ok());
    }
}
