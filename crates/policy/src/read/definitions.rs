//! The definitions of one section, in the order of writing and by name.

use super::Named;
use std::{collections::HashMap, ops::Deref};

/// Definitions whose names are all different.
#[derive(Debug)]
pub(crate) struct Definitions<T> {
    list: Vec<Named<T>>,
    places: HashMap<String, usize>,
}

impl<T> Definitions<T> {
    /// Adds a definition whose name is not taken yet; another one of the same name is dropped.
    pub(crate) fn add(&mut self, definition: Named<T>) {
        if !self.places.contains_key(&definition.name) {
            self.places.insert(definition.name.clone(), self.list.len());
            self.list.push(definition);
        }
    }

    /// The definition of this name.
    pub(crate) fn named(&self, name: &str) -> Option<&Named<T>> {
        self.list.get(*self.places.get(name)?)
    }

    /// The same, to be changed.
    pub(crate) fn named_mut(&mut self, name: &str) -> Option<&mut Named<T>> {
        self.list.get_mut(*self.places.get(name)?)
    }

    /// All of them, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Named<T>> {
        self.list.iter_mut()
    }
}

impl<T> Default for Definitions<T> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<T> Deref for Definitions<T> {
    type Target = [Named<T>];

    fn deref(&self) -> &[Named<T>] {
        &self.list
    }
}

impl<'d, T> IntoIterator for &'d Definitions<T> {
    type Item = &'d Named<T>;
    type IntoIter = std::slice::Iter<'d, Named<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}
