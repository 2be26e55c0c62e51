//! Origins: how many pushes are being sent to each origin, and which wait for a place there. Pure.
//!
//! `queue` asks before it lets a push out. Endpoints of browsers, distributors and webhooks belong
//! to strangers: one that hangs must not take the places of the others of its lane.
//!
//! Invariant: at most `per_origin_max` are being sent to one origin, and none waits for an origin
//! to which nothing is being sent. An origin without either is not kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Places of origins (`host:port`), and names of what waits for them.
#[derive(Debug)]
pub struct Origins {
    busy: HashMap<Arc<str>, Busy>,
    per_origin_max: usize,
}

#[derive(Debug, Default)]
struct Busy {
    sending: usize,
    waiting: VecDeque<u64>,
}

impl Origins {
    /// With so many places each.
    pub fn new(per_origin_max: usize) -> Self {
        Self {
            busy: HashMap::new(),
            per_origin_max: per_origin_max.max(1),
        }
    }

    /// Takes a place, or has `id` wait for one.
    pub fn enter(&mut self, origin: &Arc<str>, id: u64) -> bool {
        let busy = self.busy.entry(origin.clone()).or_default();
        let room = busy.sending < self.per_origin_max;
        match room {
            true => busy.sending += 1,
            false => busy.waiting.push_back(id),
        }
        room
    }

    /// Gives a place back. Answers with who has waited longest for it, to enter once more.
    pub fn leave(&mut self, origin: &Arc<str>) -> Option<u64> {
        let busy = self.busy.get_mut(origin)?;
        busy.sending = busy.sending.saturating_sub(1);
        let next = busy.waiting.pop_front();
        if busy.sending == 0 && busy.waiting.is_empty() {
            self.busy.remove(origin);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_that_is_full_holds_up_no_other() {
        let (mut origins, slow, quick) = (Origins::new(2), Arc::from("slow"), Arc::from("quick"));
        let entered = [1, 2, 3, 4].map(|id| origins.enter(&slow, id));
        assert_eq!(entered, [true, true, false, false]);
        assert!(origins.enter(&quick, 5));
    }

    #[test]
    fn who_waits_longest_is_next_and_nothing_is_left_behind() {
        let (mut origins, origin) = (Origins::new(1), Arc::from("slow"));
        assert_eq!(
            [1, 2, 3].map(|id| origins.enter(&origin, id)),
            [true, false, false]
        );
        assert_eq!(origins.leave(&origin), Some(2));
        assert!(origins.enter(&origin, 2));
        assert_eq!(origins.leave(&origin), Some(3));
        assert!(origins.enter(&origin, 3));
        assert_eq!(origins.leave(&origin), None);
        assert!(origins.busy.is_empty());
    }
}
