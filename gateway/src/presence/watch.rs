//! Watch: whom this gateway's sessions watch, all together.
//!
//! Pure. presence-svc is told of a user when the first session here watches and when the last one
//! stops.
//!
//! Invariant: a user is watched exactly while at least one session watches.

use std::collections::{HashMap, HashSet};

/// Who watches whom.
#[derive(Debug, Default)]
pub struct Watches {
    /// The sessions that watch a user.
    watchers: HashMap<String, HashSet<u64>>,
    /// The users that a session watches.
    watched: HashMap<u64, HashSet<String>>,
}

/// What presence-svc must be told.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Watch these.
    pub added: Vec<String>,
    /// No more.
    pub removed: Vec<String>,
}

impl Watches {
    /// A session watches these users from now on, and no others.
    pub fn replace(&mut self, session: u64, users: Vec<String>) -> Change {
        let now: HashSet<String> = users.into_iter().collect();
        let before = self.watched.remove(&session).unwrap_or_default();
        let mut change = Change::default();
        for user in before.difference(&now) {
            if let Some(watchers) = self.watchers.get_mut(user) {
                watchers.remove(&session);
                if watchers.is_empty() {
                    self.watchers.remove(user);
                    change.removed.push(user.clone());
                }
            }
        }
        for user in now.difference(&before) {
            let watchers = self.watchers.entry(user.clone()).or_default();
            if watchers.is_empty() {
                change.added.push(user.clone());
            }
            watchers.insert(session);
        }
        if !now.is_empty() {
            self.watched.insert(session, now);
        }
        change
    }

    /// The sessions that watch a user.
    pub fn watchers(&self, user: &str) -> Vec<u64> {
        let watchers = self.watchers.get(user);
        watchers
            .map(|sessions| sessions.iter().copied().collect())
            .unwrap_or_default()
    }

    /// Everybody who is watched.
    pub fn users(&self) -> Vec<String> {
        self.watchers.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(users: &[&str]) -> Vec<String> {
        users.iter().map(|user| (*user).to_owned()).collect()
    }

    #[test]
    fn a_user_is_watched_from_the_first_session_to_the_last() {
        let mut watches = Watches::default();
        assert_eq!(watches.replace(1, names(&["ann"])).added, ["ann"]);
        assert_eq!(watches.replace(2, names(&["ann"])), Change::default());
        assert_eq!(watches.replace(1, names(&[])), Change::default());
        assert_eq!(watches.watchers("ann"), [2]);
        assert_eq!(watches.replace(2, names(&["bob"])).removed, ["ann"]);
        assert!(watches.watchers("ann").is_empty());
    }

    proptest! {
        /// Whatever sessions do: what was told adds up to what is watched.
        #[test]
        fn changes_add_up(steps in prop::collection::vec(
            (0u64..4, prop::collection::vec("[a-d]", 0..4)), 0..40,
        )) {
            let mut watches = Watches::default();
            let mut told = HashSet::new();
            for (session, users) in steps {
                let change = watches.replace(session, users);
                for user in change.added { prop_assert!(told.insert(user)); }
                for user in change.removed { prop_assert!(told.remove(&user)); }
                let now: HashSet<String> = watches.users().into_iter().collect();
                prop_assert_eq!(&now, &told);
            }
        }
    }
}
