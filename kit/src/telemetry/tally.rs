//! Tallies: a counter by kind for what happens too often to be recorded.
//!
//! Each kind is an atomic of its own, resolved when the service starts; the instrument reads them
//! when metrics are collected. [`super::counter`] is for what happens less often.
//!
//! Invariant: counting is one atomic addition: it looks nothing up and allocates nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use opentelemetry::KeyValue;

use super::instruments::meter;

/// How often something of one kind has happened. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<AtomicU64>);

impl Tally {
    /// It has happened so often again.
    pub fn add(&self, times: u64) {
        self.0.fetch_add(times, Ordering::Relaxed);
    }

    /// How often so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a kind is called: the values of its attributes, under their names.
type Attributes<const N: usize> = [(&'static str, &'static str); N];

/// The kinds of one counter, until it is observed.
#[derive(Debug)]
pub struct Tallies<const N: usize> {
    kinds: Vec<(Attributes<N>, Tally)>,
}

impl<const N: usize> Default for Tallies<N> {
    fn default() -> Self {
        Self { kinds: Vec::new() }
    }
}

impl<const N: usize> Tallies<N> {
    /// The tally of a kind; asked for again, it is the same one.
    pub fn of(&mut self, attributes: Attributes<N>) -> Tally {
        let known = self.kinds.iter().find(|(known, _)| *known == attributes);
        if let Some((_, tally)) = known {
            return tally.clone();
        }
        let tally = Tally::default();
        self.kinds.push((attributes, tally.clone()));
        tally
    }

    /// Has them read whenever metrics are collected, each as long as somebody holds it.
    pub fn observe(self, name: &'static str, description: &'static str) {
        let watched = |(attributes, tally): (Attributes<N>, Tally)| {
            let attributes = attributes.map(|(name, value)| KeyValue::new(name, value));
            (attributes, Arc::downgrade(&tally.0))
        };
        let kinds: Vec<([KeyValue; N], Weak<AtomicU64>)> =
            self.kinds.into_iter().map(watched).collect();
        // The provider keeps the callback; the handle is not needed.
        let _kept = meter()
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| {
                for (attributes, tally) in &kinds {
                    if let Some(tally) = tally.upgrade() {
                        observer.observe(tally.load(Ordering::Relaxed), attributes);
                    }
                }
            })
            .build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_tally() {
        let mut tallies = Tallies::default();
        let (first, other) = (tallies.of([("kind", "a")]), tallies.of([("kind", "b")]));
        let again = tallies.of([("kind", "a")]);
        first.add(2);
        again.add(3);
        assert_eq!((first.count(), again.count(), other.count()), (5, 5, 0));
    }
}
