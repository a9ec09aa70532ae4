//! New passwords, old passwords, and whose turn it is.

use std::sync::Arc;
use std::time::Duration;

use passwords::{BreachFilter, Rules, Subject, Violation, normal};
use problem::FieldError;
use zeroize::Zeroizing;

use super::breached_file::BreachedFile;
use super::client_network::ClientNetwork;
use super::gate::Admitted;
use super::hash_pool::{Bounds, HashPool, Hasher, PoolError, Turn};
use super::hash_queue::Priority;
use super::password_hash::Recipe;
use crate::settings::PasswordSettings;

/// The rules, the file of breached passwords, and the threads that hash.
#[derive(Debug)]
pub(super) struct Passwords {
    pool: HashPool,
    rules: Arc<Rules>,
    breached: Option<Arc<BreachedFile>>,
}

/// Whose password it is to be.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) email: String,
    pub(super) full_name: String,
}

/// What a new password came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NewPassword {
    /// Its hash.
    Hashed(String),
    /// The rules it breaks; none, when it was only to be judged.
    Judged(Vec<Violation>),
}

/// What a change of a password came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The one that was given as the old one is not.
    WrongPassword,
    /// The new one was judged.
    Right(NewPassword),
}

impl Passwords {
    /// Reads the file of breached passwords, if there is to be one, and starts the threads.
    pub(super) fn start(settings: &PasswordSettings) -> anyhow::Result<Self> {
        let recipe = Recipe::new(
            settings.memory_kib,
            settings.iterations,
            settings.pepper.expose().as_bytes(),
        );
        let recipe = settings.peppers.iter().fold(recipe, |recipe, pepper| {
            recipe.accepting(pepper.expose().as_bytes())
        });
        let bounds = Bounds {
            max_parallel: settings.max_parallel,
            queue: settings.queue,
            max_per_address: settings.max_per_address,
            deadline: Duration::from_millis(settings.deadline_ms),
        };
        let breached = settings.breach_filter.as_deref().map(BreachedFile::open);
        Ok(Self {
            pool: HashPool::start(&recipe, &bounds)?,
            rules: Arc::new(Rules::new(
                settings.profile,
                settings.min_length,
                &settings.context_words,
            )),
            breached: breached.transpose()?.map(Arc::new),
        })
    }

    /// Takes a place, before anything is looked up for a request.
    pub(super) fn take(&self, priority: Priority, network: ClientNetwork) -> Result<Turn, PoolError> {
        self.pool.take(priority, network)
    }

    /// Judges a new password and hashes it when it breaks no rule; only judges it when the request is refused anyway.
    pub(super) async fn judge(
        &self,
        turn: Turn,
        password: Zeroizing<String>,
        person: Person,
        is_wanted: bool,
    ) -> Result<NewPassword, PoolError> {
        let (rules, breached) = self.now();
        turn.run(move |hasher| {
            let judge = Judge {
                rules: &rules,
                breached: breached.as_deref(),
                person: &person,
            };
            judge.new_password(hasher, &normal(&password), None, is_wanted)
        })
        .await
    }

    /// Compares the old password and judges the new one, in one turn.
    pub(super) async fn replace(
        &self,
        (turn, admitted): (Turn, Admitted),
        (old, stored): (Zeroizing<String>, String),
        new: Zeroizing<String>,
        person: Person,
    ) -> Result<Change, PoolError> {
        let (rules, breached) = self.now();
        turn.run(move |hasher| {
            if !hasher.is_password(admitted, &old, &stored)? {
                return Ok(Change::WrongPassword);
            }
            let judge = Judge {
                rules: &rules,
                breached: breached.as_deref(),
                person: &person,
            };
            let made = judge.new_password(hasher, &normal(&new), Some(&normal(&old)), true);
            made.map(Change::Right)
        })
        .await
    }

    /// The hash of a password that nobody knows.
    pub(super) fn nobody(&self) -> &str {
        self.pool.nobody()
    }

    /// The file of breached passwords, if there is one.
    pub(super) fn breached_file(&self) -> Option<Arc<BreachedFile>> {
        self.breached.clone()
    }

    fn now(&self) -> (Arc<Rules>, Option<Arc<BreachFilter>>) {
        let breached = self.breached.as_ref().map(|file| file.current());
        (Arc::clone(&self.rules), breached)
    }
}

/// What a new password is judged by.
struct Judge<'a> {
    rules: &'a Rules,
    breached: Option<&'a BreachFilter>,
    person: &'a Person,
}

impl Judge<'_> {
    fn new_password(
        &self,
        hasher: &mut Hasher<'_>,
        password: &str,
        old: Option<&str>,
        is_wanted: bool,
    ) -> Result<NewPassword, PoolError> {
        let subject = Subject {
            email: &self.person.email,
            full_name: &self.person.full_name,
        };
        let mut violations = self.rules.violations(password, &subject, self.breached)?;
        if old == Some(password) {
            violations.push(Violation::Reused);
        }
        if violations.is_empty() && is_wanted {
            Ok(NewPassword::Hashed(hasher.hash(password)?))
        } else {
            Ok(NewPassword::Judged(violations))
        }
    }
}

/// A broken rule as a client reads it.
pub(super) fn fault(pointer: &str, violation: &Violation) -> FieldError {
    let error = FieldError::new(pointer, violation.code(), violation.detail());
    violation
        .params()
        .into_iter()
        .fold(error, |error, (name, number)| error.param(name, number))
}
