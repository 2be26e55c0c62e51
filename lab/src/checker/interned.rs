//! Values that are stored once and named by a `u32`, however often they occur.

use std::collections::HashMap;
use std::hash::Hash;

/// Appends, and gives the index.
pub(super) fn push<T>(items: &mut Vec<T>, item: T) -> u32 {
    items.push(item);
    items.len() as u32 - 1
}

/// Values, each stored once and named by its index.
#[derive(Clone, Debug)]
pub(super) struct Interned<T> {
    items: Vec<T>,
    indices: HashMap<T, u32>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Interned {
            items: Vec::new(),
            indices: HashMap::new(),
        }
    }
}

impl<T: Copy + Eq + Hash> Interned<T> {
    pub fn intern(&mut self, item: T) -> u32 {
        *self
            .indices
            .entry(item)
            .or_insert_with(|| push(&mut self.items, item))
    }

    pub fn get(&self, index: u32) -> &T {
        &self.items[index as usize]
    }

    pub fn items(&self) -> &[T] {
        &self.items
    }
}
