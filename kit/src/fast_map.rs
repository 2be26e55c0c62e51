//! Fast map: the hash map of state that is looked up for every message.
//!
//! std's hasher defends against floods of chosen keys and costs as much as the rest of a look-up;
//! this one is seeded at random for each map and an order faster. Keys that a stranger can choose
//! in bulk are bounded elsewhere, by rates and by what an owner keeps.

use std::collections::HashMap;

/// A std map with a fast, randomly seeded hasher. Made with `FastMap::default()`.
pub type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
