//! Data keys in memory, so that what was opened once opens while its provider is down.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keyring::DataKey;
use secrets::Context;

/// Most data keys at once: several times what the rings of one system have.
const MOST: usize = 256;

/// What a data key is found by: all that its provider would look at.
type Name = (Vec<u8>, Vec<u8>);

/// Data keys that a provider has opened.
#[derive(Debug, Default)]
pub(crate) struct Held(Mutex<HashMap<Name, DataKey>>);

impl Held {
    pub(crate) fn get(&self, context: &Context, wrapped: &[u8]) -> Option<DataKey> {
        self.lock().get(&(context.bytes(), wrapped.to_vec())).cloned()
    }

    pub(crate) fn keep(&self, context: &Context, wrapped: &[u8], key: &DataKey) {
        let mut held = self.lock();
        // Keys that ended are not told apart from those in use: whoever needs one asks for it again.
        if held.len() >= MOST {
            held.clear();
        }
        held.insert((context.bytes(), wrapped.to_vec()), key.clone());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, DataKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
