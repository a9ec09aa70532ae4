//! The threads that hash passwords: a few, with a bounded queue, so that log-ins cannot starve the API (IDN-1).
//!
//! **Invariant:** at most `max_parallel` hashes run, whatever clients do. The worker owns its job and its place from start
//! to end; a client that hangs up frees nothing and starts nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::Block;
use passwords::FilterMissing;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::client_network::ClientNetwork;
use super::gate::Admitted;
use super::hash_queue::{Job, Next, Priority, Queue, Seat, Work};
use super::password_hash::{Found, HashError, Recipe};
use crate::metrics;

/// Most threads that are started unasked: each costs the memory of one hash while it works, 128 MiB at most.
const MAX_UNASKED: usize = 4;
/// How long the memory of a hash is kept for the next one.
const IDLE: Duration = Duration::from_secs(3);
/// A large piece in the eyes of the allocator: 1 MiB, never touched.
const NUDGE_BLOCKS: usize = 1_024;
/// How much less the threads matter to the system than those that answer requests.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Why there is no answer of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PoolError {
    /// The queue is full, or the deadline is over: try again soon, and the later the less it matters.
    #[error("too many passwords are being checked")]
    Busy(Priority),
    /// Hashing itself failed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// New passwords cannot be judged.
    #[error(transparent)]
    Rules(#[from] FilterMissing),
}

/// What comparing a password found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Whether it is the password.
    pub(super) matches: bool,
    /// A fresh hash of a matching password, when the stored one was made in another way and nobody waits.
    pub(super) renewed: Option<String>,
}

/// How much at once, how many wait, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Threads; 0 is one fewer than the cores, at least one and at most [`MAX_UNASKED`].
    pub(super) max_parallel: usize,
    /// Places in front of the threads.
    pub(super) queue: usize,
    /// Places of one network.
    pub(super) max_per_address: usize,
    /// From the place to the answer.
    pub(super) deadline: Duration,
}

/// A handle on the pool. The threads end when the last handle is dropped.
#[derive(Clone)]
pub(super) struct HashPool {
    open: Arc<Open>,
    deadline: Duration,
    /// The hash of a password nobody has: what an unknown address is compared with.
    nobody: Arc<str>,
}

/// The queue, closed when this is dropped.
struct Open(Arc<Queue>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl std::fmt::Debug for HashPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashPool").finish_non_exhaustive()
    }
}

impl HashPool {
    /// Starts the threads.
    pub(super) fn start(recipe: &Recipe, bounds: &Bounds) -> anyhow::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (pool, worker) = Self::prepare(recipe, bounds, IDLE)?;
        worker.spawn(threads(bounds.max_parallel, cores))?;
        Ok(pool)
    }

    /// The pool and what its threads run, before there is any thread.
    fn prepare(recipe: &Recipe, bounds: &Bounds, idle: Duration) -> anyhow::Result<(Self, Worker)> {
        let mut nothing = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut nothing).map_err(|_| HashError::Library)?;
        let nobody = recipe.hash(&format!("{nothing:?}"), &mut Vec::new())?;
        let queue = Queue::new(bounds.queue, bounds.max_per_address);
        let worker = Worker {
            recipe: recipe.clone(),
            queue: Arc::clone(&queue),
            buffers: Arc::new(Buffers {
                spare: Mutex::default(),
                idle,
            }),
        };
        let pool = Self {
            open: Arc::new(Open(queue)),
            deadline: bounds.deadline,
            nobody: nobody.into(),
        };
        Ok((pool, worker))
    }

    /// The hash of a password that nobody knows.
    pub(super) fn nobody(&self) -> &str {
        &self.nobody
    }

    /// Takes a place, before anything else is done for a request.
    pub(super) fn take(&self, priority: Priority, network: ClientNetwork) -> Result<Turn, PoolError> {
        let seat = self.open.0.take(priority, network).map_err(|shed| {
            metrics::hash_shed(shed.as_str());
            PoolError::Busy(priority)
        })?;
        Ok(Turn {
            seat,
            deadline: self.deadline,
            nobody: Arc::clone(&self.nobody),
        })
    }
}

/// A place at a thread.
pub(super) struct Turn {
    seat: Seat,
    deadline: Duration,
    nobody: Arc<str>,
}

impl Turn {
    /// Has a thread do some work. It is not begun when the caller has gone, and not stopped when the caller goes.
    pub(super) async fn run<T, E, F>(self, work: F) -> Result<T, PoolError>
    where
        T: Send + 'static,
        E: Send + 'static,
        PoolError: From<E>,
        F: FnOnce(&mut Hasher<'_>) -> Result<T, E> + Send + 'static,
    {
        let (priority, queue) = (self.seat.priority, self.seat.queue());
        let left = self.deadline.saturating_sub(self.seat.since.elapsed());
        let (reply, answer) = oneshot::channel();
        queue.put(Job {
            seat: self.seat,
            work: Box::new(Asked { work, reply }),
        });
        match tokio::time::timeout(left, answer).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(_)) => Err(PoolError::Busy(priority)),
            Err(_) => {
                metrics::hash_shed("deadline");
                Err(PoolError::Busy(priority))
            }
        }
    }

    /// Compares a password, as it was typed, with a stored hash. Without one, an unknown address, it costs the same and
    /// never matches.
    pub(super) async fn compare(
        self,
        admitted: Admitted,
        password: Zeroizing<String>,
        stored: Option<String>,
    ) -> Result<Comparison, PoolError> {
        let is_known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.to_string());
        let comparison = self
            .run(move |hasher| hasher.compare(admitted, &password, &stored))
            .await?;
        Ok(if is_known {
            comparison
        } else {
            Comparison {
                matches: false,
                renewed: None,
            }
        })
    }
}

/// Work and who waits for it.
struct Asked<F, T, E> {
    work: F,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Work for Asked<F, T, E>
where
    T: Send,
    E: Send,
    F: FnOnce(&mut Hasher<'_>) -> Result<T, E> + Send,
{
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    fn run(self: Box<Self>, hasher: &mut Hasher<'_>) {
        let Self { work, reply } = *self;
        drop(reply.send(work(hasher)));
    }
}

/// What work has of its thread.
pub(super) struct Hasher<'a> {
    recipe: &'a Recipe,
    memory: &'a mut Vec<Block>,
    queue: &'a Queue,
}

impl Hasher<'_> {
    /// Hashes a password.
    pub(super) fn hash(&mut self, password: &str) -> Result<String, HashError> {
        self.recipe.hash(password, self.memory)
    }

    /// Whether it is the password, as it was typed, of a stored hash.
    pub(super) fn is_password(
        &mut self,
        _: Admitted,
        password: &str,
        stored: &str,
    ) -> Result<bool, HashError> {
        let found = self.recipe.compare(password, stored, self.memory)?;
        Ok(found != Found::Other)
    }

    /// Compares a password, as it was typed, with a stored hash. An outdated one is renewed after a match in the same turn,
    /// unless somebody waits: then at the next log-in.
    pub(super) fn compare(
        &mut self,
        _: Admitted,
        password: &str,
        stored: &str,
    ) -> Result<Comparison, HashError> {
        let found = self.recipe.compare(password, stored, self.memory)?;
        let renewed = if found == Found::Outdated && !self.queue.others_wait() {
            Some(self.hash(password)?)
        } else {
            None
        };
        Ok(Comparison {
            matches: found != Found::Other,
            renewed,
        })
    }
}

fn threads(max_parallel: usize, cores: usize) -> usize {
    match max_parallel {
        0 => cores.saturating_sub(1).clamp(1, MAX_UNASKED),
        set => set,
    }
}

/// Lets every other thread of the process go first. Elsewhere than on Linux that would be the whole process.
fn lower_precedence() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::warn!(%error, "the threads that hash passwords are as important as those that answer");
    }
}

/// What a thread runs; its clones share one queue and the spare memory.
#[derive(Clone)]
struct Worker {
    recipe: Recipe,
    queue: Arc<Queue>,
    buffers: Arc<Buffers>,
}

impl Worker {
    fn spawn(&self, threads: usize) -> std::io::Result<()> {
        for number in 0..threads {
            let worker = self.clone();
            std::thread::Builder::new()
                .name(format!("password-{number}"))
                .spawn(move || {
                    lower_precedence();
                    while worker.serve_next() {}
                })?;
        }
        Ok(())
    }

    /// Does the next job, or frees idle memory when none comes in time. False: the pool is gone.
    fn serve_next(&self) -> bool {
        match self.queue.next(self.buffers.idle) {
            Next::Job(job) => self.serve(job),
            Next::Nothing => {
                nudge_allocator();
                self.buffers.free_idle();
            }
            Next::Closed => return false,
        }
        true
    }

    fn serve(&self, job: Job) {
        let Job { seat, work } = job;
        metrics::hash_waited(seat.since.elapsed());
        if work.is_wanted() {
            let begun = Instant::now();
            // A panic over one password must not cost a thread: the others would wait for nobody.
            let ended = catch_unwind(AssertUnwindSafe(|| {
                self.buffers.lend(|memory| {
                    work.run(&mut Hasher {
                        recipe: &self.recipe,
                        memory,
                        queue: &self.queue,
                    });
                });
            }));
            if ended.is_err() {
                tracing::error!("work on a password panicked");
            }
            metrics::hash_took(begun.elapsed());
        }
        drop(seat);
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

    fn recipe(iterations: u32) -> Recipe {
        Recipe::new(4_096, iterations, b"pepper")
    }

    fn bounds(queue: usize) -> Bounds {
        Bounds {
            max_parallel: 1,
            queue,
            max_per_address: 64,
            deadline: Duration::from_secs(30),
        }
    }

    fn pool(queue: usize, iterations: u32) -> HashPool {
        HashPool::start(&recipe(iterations), &bounds(queue)).unwrap()
    }

    impl HashPool {
        fn turn(&self, priority: Priority) -> Result<Turn, PoolError> {
            self.take(priority, ClientNetwork::Unknown)
        }

        async fn hash(&self, password: Zeroizing<String>) -> Result<String, PoolError> {
            self.turn(Priority::Registration)?
                .run(move |hasher| hasher.hash(&password))
                .await
        }

        async fn compare(
            &self,
            password: Zeroizing<String>,
            stored: Option<String>,
        ) -> Result<Comparison, PoolError> {
            self.turn(Priority::LogIn)?
                .compare(Admitted::without_a_gate(), password, stored)
                .await
        }
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
            .filter(|answer| **answer == Err(PoolError::Busy(Priority::Registration)))
            .count();
        assert!((30..40).contains(&busy), "{busy} of 40 were refused");
        assert!(pool.hash(secret("password")).await.is_ok());
    }

    /// A pool whose thread is the test itself, and whose memory is idle at once.
    fn by_hand(queue: usize) -> (HashPool, Worker) {
        HashPool::prepare(&recipe(1), &bounds(queue), Duration::ZERO).unwrap()
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
        let (pool, worker) = HashPool::prepare(&recipe(1), &bounds(8), Duration::from_millis(1)).unwrap();
        worker.spawn(3).unwrap();
        for answer in join_all((0..6).map(|_| pool.hash(secret("password")))).await {
            answer.unwrap();
        }
        let all_freed = async {
            while !spare(&worker).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all_freed)
            .await
            .unwrap();
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
                    assert_eq!(answer, Err(PoolError::Busy(Priority::Registration)));
                }
            }
        }
        assert_eq!(worker.queue.places(), (2, 0));
        assert!(worker.serve_next());
        assert!(worker.serve_next());
        assert_eq!(worker.queue.places(), (0, 0));
        // No hash was made, so no memory was taken.
        assert_eq!(spare(&worker), Vec::<usize>::new());
        let mut asked = Box::pin(pool.hash(secret("password")));
        assert!(futures::poll!(&mut asked).is_pending());
        assert!(worker.serve_next());
        assert!(asked.await.is_ok());
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_while_its_hash_runs_frees_no_place() {
        let (pool, worker) = by_hand(1);
        let (begun, is_begun) = std::sync::mpsc::channel();
        let (let_go, may_end) = std::sync::mpsc::channel::<()>();
        let turn = pool.turn(Priority::LogIn).unwrap();
        let mut asked = Box::pin(turn.run(move |_| {
            begun.send(()).unwrap();
            may_end.recv().unwrap();
            Ok::<_, HashError>(())
        }));
        assert!(futures::poll!(&mut asked).is_pending());
        let thread = std::thread::spawn({
            let worker = worker.clone();
            move || worker.serve_next()
        });
        is_begun.recv().unwrap();
        drop(asked);
        assert_eq!(worker.queue.places(), (0, 1));
        let_go.send(()).unwrap();
        assert!(thread.join().unwrap());
        assert_eq!(worker.queue.places(), (0, 0));
    }

    #[tokio::test]
    async fn whoever_waits_longer_than_the_deadline_is_sent_away_and_costs_no_hash() {
        let bounds = Bounds {
            deadline: Duration::from_millis(1),
            ..bounds(4)
        };
        let (pool, worker) = HashPool::prepare(&recipe(1), &bounds, Duration::ZERO).unwrap();
        let late = pool.compare(secret("password"), None).await;
        assert_eq!(late, Err(PoolError::Busy(Priority::LogIn)));
        assert_eq!(worker.queue.places(), (1, 0));
        assert!(worker.serve_next());
        assert_eq!(spare(&worker), Vec::<usize>::new());
        assert_eq!(worker.queue.places(), (0, 0));
    }

    #[tokio::test]
    async fn during_a_flood_of_log_ins_whoever_is_trusted_is_served_first() {
        let (pool, worker) = by_hand(8);
        let mut flood: Vec<_> = (0..20)
            .map(|_| Box::pin(pool.compare(secret("guess"), None)))
            .collect();
        for asked in &mut flood {
            drop(futures::poll!(asked));
        }
        assert_eq!(worker.queue.places(), (8, 0));
        let turn = pool.turn(Priority::Trusted).unwrap();
        let mut trusted = Box::pin(turn.run(|hasher| hasher.hash("password")));
        assert!(futures::poll!(&mut trusted).is_pending());
        assert!(worker.serve_next());
        assert!(trusted.await.is_ok());
        assert_eq!(worker.queue.places(), (7, 0), "one log-in gave way");
    }

    #[tokio::test]
    async fn an_outdated_hash_is_renewed_in_the_same_turn_unless_somebody_waits() {
        let (pool, worker) = by_hand(4);
        let stored = Recipe::new(8, 1, b"pepper")
            .hash("password", &mut Vec::new())
            .unwrap();
        let log_in = || Box::pin(pool.compare(secret("password"), Some(stored.clone())));
        let (mut first, mut second) = (log_in(), log_in());
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        assert!(worker.serve_next() && worker.serve_next());
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert!(first.matches && second.matches);
        assert_eq!(first.renewed, None, "the second one waited");
        let renewed = second.renewed.unwrap();
        assert!(renewed.contains("m=4096,"), "{renewed}");
    }

    #[tokio::test]
    async fn a_panic_costs_no_thread_and_no_place() {
        let pool = pool(4, 1);
        let turn = pool.turn(Priority::LogIn).unwrap();
        let failed = turn
            .run(|_| -> Result<(), HashError> { panic!("over this password") })
            .await;
        assert_eq!(failed, Err(PoolError::Busy(Priority::LogIn)));
        assert!(pool.hash(secret("password")).await.is_ok());
        assert_eq!(pool.open.0.places().0, 0);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn every_other_thread_goes_first() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let pool = pool(4, 1);
        let turn = pool.turn(Priority::LogIn).unwrap();
        let theirs = turn.run(move |_| Ok::<_, HashError>(nice())).await;
        assert_eq!(theirs, Ok((nice() + 10).min(19)));
    }
}
