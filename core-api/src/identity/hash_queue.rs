//! Who waits for a hash, and who is sent away.
//!
//! **Invariant:** a place is taken before anything is looked up for a request and is free again when its job has ended,
//! not when its client has gone: hanging up frees nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::client_network::ClientNetwork;
use super::hash_pool::Hasher;
use crate::metrics;

/// Whose hash comes first. The renewal of an old hash comes last: it is done within the log-in that asks for it, and only
/// when nobody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    /// Of somebody who is known: a live session, or a device that has logged in before.
    Trusted,
    /// Of anybody who logs in.
    LogIn,
    /// Of anybody who registers.
    Registration,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shed {
    /// As many wait as may.
    Full,
    /// This network has as many places as one may have.
    Network,
}

impl Shed {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Network => "network",
        }
    }
}

/// What somebody waits for.
pub(super) trait Work: Send {
    /// False: whoever asked has gone.
    fn is_wanted(&self) -> bool;
    /// Does it, and answers.
    fn run(self: Box<Self>, hasher: &mut Hasher<'_>);
}

/// Work with its place.
pub(super) struct Job {
    pub(super) seat: Seat,
    pub(super) work: Box<dyn Work>,
}

/// What a thread finds.
pub(super) enum Next {
    Job(Job),
    /// Nothing came in time.
    Nothing,
    /// Nothing will come any more.
    Closed,
}

/// The queue in front of the threads.
pub(super) struct Queue {
    /// How many may wait.
    most_waiting: usize,
    /// How many places one network may have, waiting and running together.
    most_of_network: usize,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<Priority, VecDeque<Job>>,
    /// Places in front of the threads, whether their job is there yet or not.
    waiting: usize,
    running: usize,
    networks: HashMap<ClientNetwork, usize>,
    is_closed: bool,
}

impl State {
    fn show(&self) {
        metrics::hash_places(self.waiting, self.running);
    }

    fn first(&mut self) -> Option<Job> {
        self.jobs.values_mut().find_map(VecDeque::pop_front)
    }

    /// The job that must go for one of this priority: of those that matter less, the last in line.
    fn give_way(&mut self, priority: Priority) -> Option<Job> {
        let lower = self.jobs.iter_mut().rev();
        lower
            .take_while(|(other, _)| **other > priority)
            .find_map(|(_, jobs)| jobs.pop_back())
    }
}

impl Queue {
    pub(super) fn new(most_waiting: usize, most_of_network: usize) -> Arc<Self> {
        Arc::new(Self {
            most_waiting,
            most_of_network,
            state: Mutex::default(),
            arrived: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place. When all are taken, whoever matters less gives way.
    pub(super) fn take(self: &Arc<Self>, priority: Priority, network: ClientNetwork) -> Result<Seat, Shed> {
        let mut state = self.state();
        if state.networks.get(&network).copied().unwrap_or_default() >= self.most_of_network {
            return Err(Shed::Network);
        }
        let mut gone = None;
        if state.waiting >= self.most_waiting {
            gone = Some(state.give_way(priority).ok_or(Shed::Full)?);
        }
        let places = state.networks.entry(network).or_default();
        *places = places.saturating_add(1);
        state.waiting = state.waiting.saturating_add(1);
        state.show();
        drop(state);
        if gone.is_some() {
            metrics::hash_shed("gave_way");
        }
        drop(gone); // its seat needs the lock
        Ok(Seat {
            queue: Arc::clone(self),
            priority,
            network,
            since: Instant::now(),
            is_running: false,
        })
    }

    /// Puts work in line. A closed queue drops it.
    pub(super) fn put(&self, job: Job) {
        let mut state = self.state();
        if state.is_closed {
            drop(state);
            return; // the job goes with its seat, which needs the lock
        }
        state.jobs.entry(job.seat.priority).or_default().push_back(job);
        drop(state);
        self.arrived.notify_one();
    }

    /// The job that matters most, of these the one that came first.
    pub(super) fn next(&self, patience: Duration) -> Next {
        let deadline = Instant::now().checked_add(patience);
        let mut state = self.state();
        loop {
            if let Some(mut job) = state.first() {
                state.waiting = state.waiting.saturating_sub(1);
                state.running = state.running.saturating_add(1);
                state.show();
                job.seat.is_running = true;
                return Next::Job(job);
            }
            if state.is_closed {
                return Next::Closed;
            }
            let left = deadline.map_or(patience, |deadline| {
                deadline.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return Next::Nothing;
            }
            let woken = self.arrived.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether anybody waits.
    pub(super) fn others_wait(&self) -> bool {
        self.state().waiting > 0
    }

    /// No more work: threads end when what is in line is done.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.arrived.notify_all();
    }

    /// Places that wait, and places that run.
    #[cfg(test)]
    pub(super) fn places(&self) -> (usize, usize) {
        let state = self.state();
        assert!(state.waiting + state.running == state.networks.values().sum::<usize>());
        (state.waiting, state.running)
    }
}

/// A place, free again when dropped.
pub(super) struct Seat {
    queue: Arc<Queue>,
    pub(super) priority: Priority,
    network: ClientNetwork,
    /// When it was taken.
    pub(super) since: Instant,
    is_running: bool,
}

impl Seat {
    pub(super) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        if self.is_running {
            state.running = state.running.saturating_sub(1);
        } else {
            state.waiting = state.waiting.saturating_sub(1);
        }
        if let Some(places) = state.networks.get_mut(&self.network) {
            *places = places.saturating_sub(1);
            if *places == 0 {
                state.networks.remove(&self.network);
            }
        }
        state.show();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::mpsc::{Sender, channel};

    use proptest::prelude::*;

    use super::*;

    /// Says its name when it is dropped undone.
    struct Named(&'static str, Sender<&'static str>);

    impl Work for Named {
        fn is_wanted(&self) -> bool {
            true
        }
        fn run(self: Box<Self>, _: &mut Hasher<'_>) {}
    }

    impl Drop for Named {
        fn drop(&mut self) {
            let _ = self.1.send(self.0);
        }
    }

    fn client(number: u8) -> ClientNetwork {
        ClientNetwork::V4(Ipv4Addr::new(192, 0, 2, number))
    }

    fn next_is(queue: &Queue, gone: &std::sync::mpsc::Receiver<&'static str>) -> Option<&'static str> {
        match queue.next(Duration::ZERO) {
            Next::Job(job) => {
                drop(job);
                gone.recv().ok()
            }
            Next::Nothing | Next::Closed => None,
        }
    }

    #[test]
    fn whoever_matters_more_comes_first_and_among_equals_whoever_came_first() {
        let (queue, (dropped, gone)) = (Queue::new(8, 8), channel());
        for (name, priority) in [
            ("registration", Priority::Registration),
            ("first log-in", Priority::LogIn),
            ("second log-in", Priority::LogIn),
            ("trusted", Priority::Trusted),
        ] {
            let seat = queue.take(priority, client(1)).ok().unwrap();
            queue.put(Job {
                seat,
                work: Box::new(Named(name, dropped.clone())),
            });
        }
        let order: Vec<_> = std::iter::from_fn(|| next_is(&queue, &gone)).collect();
        assert_eq!(
            order,
            ["trusted", "first log-in", "second log-in", "registration"]
        );
        assert_eq!(queue.places(), (0, 0));
    }

    #[test]
    fn when_all_places_are_taken_the_least_gives_way() {
        let (queue, (dropped, gone)) = (Queue::new(3, 8), channel());
        let put = |name, priority| {
            let seat = queue.take(priority, client(1))?;
            queue.put(Job {
                seat,
                work: Box::new(Named(name, dropped.clone())),
            });
            Ok(())
        };
        assert_eq!(put("log-in 1", Priority::LogIn), Ok(()));
        assert_eq!(put("log-in 2", Priority::LogIn), Ok(()));
        assert_eq!(put("registration", Priority::Registration), Ok(()));
        assert_eq!(put("too late", Priority::Registration), Err(Shed::Full));
        assert_eq!(put("log-in 3", Priority::LogIn), Ok(()));
        assert_eq!(gone.try_recv(), Ok("registration"));
        assert_eq!(put("log-in 4", Priority::LogIn), Err(Shed::Full));
        assert_eq!(put("trusted 1", Priority::Trusted), Ok(()));
        assert_eq!(gone.try_recv(), Ok("log-in 3"), "the last in line");
        assert_eq!(queue.places(), (3, 0));
        // A place whose job is not there yet cannot be taken away.
        let empty = Queue::new(1, 8);
        let seat = empty.take(Priority::Registration, client(1)).ok().unwrap();
        assert_eq!(empty.take(Priority::Trusted, client(1)).err(), Some(Shed::Full));
        drop(seat);
        assert!(empty.take(Priority::Trusted, client(1)).is_ok());
    }

    #[test]
    fn a_network_has_two_places_and_waits_for_the_end_of_its_jobs() {
        let (queue, (dropped, _gone)) = (Queue::new(8, 2), channel());
        let first = queue.take(Priority::LogIn, client(1)).ok().unwrap();
        let second = queue.take(Priority::LogIn, client(1)).ok().unwrap();
        assert_eq!(
            queue.take(Priority::Trusted, client(1)).err(),
            Some(Shed::Network)
        );
        assert!(queue.take(Priority::LogIn, client(2)).is_ok());
        queue.put(Job {
            seat: first,
            work: Box::new(Named("runs", dropped)),
        });
        let Next::Job(job) = queue.next(Duration::ZERO) else {
            panic!("no job")
        };
        assert_eq!(queue.places(), (1, 1));
        assert!(queue.take(Priority::LogIn, client(1)).is_err(), "while it runs");
        drop(job);
        assert!(queue.take(Priority::LogIn, client(1)).is_ok());
        drop(second);
        assert_eq!(queue.places(), (0, 0));
    }

    #[test]
    fn a_closed_queue_finishes_what_is_in_line_and_takes_no_more() {
        let (queue, (dropped, gone)) = (Queue::new(8, 8), channel());
        let put = |name| {
            let seat = queue.take(Priority::LogIn, client(1)).ok().unwrap();
            queue.put(Job {
                seat,
                work: Box::new(Named(name, dropped.clone())),
            });
        };
        put("before");
        queue.close();
        put("after");
        assert_eq!(gone.try_recv(), Ok("after"));
        assert_eq!(next_is(&queue, &gone), Some("before"));
        assert!(matches!(queue.next(Duration::from_secs(60)), Next::Closed));
        assert_eq!(queue.places(), (0, 0));
    }

    proptest! {
        /// Whatever comes and goes, no bound is passed and no place is lost.
        #[test]
        fn places_are_bounded_and_come_back(steps in prop::collection::vec((0_u8..4, 0_u8..3, 0_u8..4), 0..200)) {
            let (queue, (dropped, _gone)) = (Queue::new(5, 2), channel());
            let (mut seats, mut jobs) = (Vec::new(), Vec::new());
            for (what, priority, number) in steps {
                let priority = [Priority::Trusted, Priority::LogIn, Priority::Registration][usize::from(priority)];
                match what {
                    0 => seats.extend(queue.take(priority, client(number))),
                    1 if !seats.is_empty() => queue.put(Job {
                        seat: seats.remove(0),
                        work: Box::new(Named("job", dropped.clone())),
                    }),
                    2 => if let Next::Job(job) = queue.next(Duration::ZERO) { jobs.push(job) },
                    _ => drop((!jobs.is_empty()).then(|| jobs.remove(0))),
                }
                let (waiting, running) = queue.places();
                prop_assert!(waiting <= 5 && running == jobs.len());
                prop_assert!(queue.state().networks.values().all(|places| (1..=2).contains(places)));
            }
            drop((seats, jobs));
            while let Next::Job(job) = queue.next(Duration::ZERO) { drop(job) }
            prop_assert_eq!(queue.places(), (0, 0));
        }
    }
}
