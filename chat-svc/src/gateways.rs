//! Gateways: which stream of each is the newest.
//!
//! A gateway that has lost a stream asks everything again over the next one. What the lost one
//! carried may still arrive, seconds after a cut has healed: then a send that was refused
//! meanwhile, and told so, would be stored after all. [`crate::service`] asks here before it sorts
//! a frame into the shards' queues.
//!
//! How many streams there are is watched by [`crate::nodes::keeper`]: a node that no gateway
//! reaches any more gives its shards to those that are reached.
//!
//! Invariant: once a newer stream of a gateway has said hello, nothing that comes over an older one
//! reaches a shard.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Gateways that are remembered: those that have left are forgotten beyond it.
const GATEWAYS_MAX: usize = 4_096;

/// The newest generation of each gateway's streams, by the gateway's incarnation.
#[derive(Default)]
pub struct Gateways {
    newest: Mutex<HashMap<String, Arc<Mutex<u64>>>>,
    streams: watch::Sender<usize>,
}

impl Gateways {
    /// A stream says hello; `None`: a newer one has done so before. One that names no gateway, or
    /// no generation, is fenced by nobody.
    pub fn begin(&self, gateway_id: &str, generation: u64) -> Option<Stream> {
        let mut known = locked(&self.newest);
        if known.len() >= GATEWAYS_MAX {
            known.retain(|_, newest| Arc::strong_count(newest) > 1);
        }
        let newest = match gateway_id {
            "" => Arc::default(),
            id => known.entry(id.to_owned()).or_default().clone(),
        };
        drop(known);
        {
            let mut newest = locked(&newest);
            if generation < *newest {
                return None;
            }
            *newest = generation;
        }
        self.streams.send_modify(|count| *count += 1);
        Some(Stream {
            newest,
            generation,
            streams: self.streams.clone(),
        })
    }

    /// How many streams there are.
    pub fn streams(&self) -> watch::Receiver<usize> {
        self.streams.subscribe()
    }
}

/// One stream of a gateway.
pub struct Stream {
    newest: Arc<Mutex<u64>>,
    generation: u64,
    streams: watch::Sender<usize>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.send_modify(|count| *count -= 1);
    }
}

impl Stream {
    /// Does this unless a newer stream has begun, which waits for it; whether it was done.
    pub fn pass(&self, frame: impl FnOnce()) -> bool {
        let newest = locked(&self.newest);
        let counts = *newest == self.generation;
        if counts {
            frame();
        }
        counts
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(stream: &Stream) -> bool {
        let mut passed = false;
        assert_eq!(stream.pass(|| passed = true), passed);
        passed
    }

    #[test]
    fn what_comes_late_over_an_older_stream_is_dropped() {
        let gateways = Gateways::default();
        let first = gateways.begin("one", 1).unwrap();
        let other = gateways.begin("other", 1).unwrap();
        assert!(passes(&first));
        let second = gateways.begin("one", 2).unwrap();
        assert!(passes(&second) && !passes(&first) && passes(&other));
        drop(second);
        assert!(gateways.begin("one", 1).is_none(), "its hello came late");
        assert!(!passes(&first));
    }

    #[test]
    fn streams_are_counted() {
        let gateways = Gateways::default();
        let streams = gateways.streams();
        let (first, second) = (gateways.begin("one", 1), gateways.begin("", 0));
        assert_eq!(*streams.borrow(), 2);
        drop((first, second));
        assert_eq!(*streams.borrow(), 0);
    }

    #[test]
    fn who_tells_no_generation_is_let_through() {
        let gateways = Gateways::default();
        for id in ["", "of an older build"] {
            let (first, second) = (gateways.begin(id, 0), gateways.begin(id, 0));
            assert!(passes(&first.unwrap()) && passes(&second.unwrap()));
        }
    }

    #[test]
    fn those_that_have_left_are_forgotten_beyond_a_number() {
        let gateways = Gateways::default();
        let stays = gateways.begin("stays", 1).unwrap();
        for number in 0..2 * GATEWAYS_MAX {
            gateways.begin(&number.to_string(), 1).unwrap();
        }
        assert!(locked(&gateways.newest).len() <= GATEWAYS_MAX);
        gateways.begin("stays", 2).unwrap();
        assert!(!passes(&stays));
    }
}
