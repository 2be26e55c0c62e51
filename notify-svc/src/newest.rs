//! Newest: what pushes of one collapse key share, and how far each key has come. Pure.
//!
//! `queue` asks before it lets a push in, and says which it lets out. Invariant: of the last
//! `positions_max / 2` keys at least, and of `positions_max` at most, the last position that left
//! is known, so that none of them is followed by an older one.

use std::collections::HashMap;

use heddle_proto::internal::PushKind;
use sha2::{Digest, Sha256};

use crate::push::Push;

/// What a push takes the place of: the older one to the same registration (or device without any)
/// about the same conversation, or about the badge. A hash, so that a key is small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key([u8; 16]);

impl Key {
    /// A push's key. A person's test has none: each is answered for itself.
    pub fn of(push: &Push) -> Option<Self> {
        let conversation = push.conversation_id.as_bytes();
        let about: &[u8] = match push.kind {
            PushKind::Test | PushKind::Unspecified => return None,
            PushKind::Badge => b"badge",
            PushKind::Message | PushKind::Update | PushKind::Clear => conversation,
        };
        let names = [&*push.user_id, &*push.device_id, push.registration_id()];
        let mut hash = Sha256::new();
        for part in names.map(str::as_bytes).into_iter().chain([about]) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hash.finalize()[..16]);
        Some(Self(key))
    }
}

/// The last position of each key, of the keys that were used last.
#[derive(Debug)]
pub struct Newest {
    /// Full, it becomes `old`, and what was old is forgotten.
    young: HashMap<Key, u64>,
    old: HashMap<Key, u64>,
    young_max: usize,
}

impl Newest {
    /// Of `positions_max` keys at most.
    pub fn new(positions_max: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            young_max: (positions_max / 2).max(1),
        }
    }

    /// How far a key has come; `None` if nothing is known of it.
    pub fn position(&self, key: &Key) -> Option<u64> {
        self.young.get(key).or(self.old.get(key)).copied()
    }

    /// A push has left.
    pub fn left(&mut self, key: Key, position: u64) {
        let position = self.position(&key).unwrap_or(0).max(position);
        if self.young.len() >= self.young_max && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tests::push;
    use heddle_proto::ids::LogId;
    use heddle_proto::v1::{LogTarget, push_registration::Target};

    fn key(number: u8) -> Key {
        Key([number; 16])
    }

    #[test]
    fn a_key_is_the_registration_and_the_conversation() {
        let message = push(None);
        let same = |change: fn(&mut Push)| {
            let mut other = push(None);
            change(&mut other);
            Key::of(&other) == Key::of(&message)
        };
        assert!(same(|other| other.position = 77));
        assert!(same(|other| other.kind = PushKind::Update));
        assert!(same(|other| other.kind = PushKind::Clear));
        assert!(!same(|other| other.kind = PushKind::Badge));
        assert!(!same(|other| other.user_id = "bob".into()));
        assert!(!same(|other| other.device_id = "tablet".into()));
        assert!(!same(
            |other| other.conversation_id = LogId::direct("ann", "zoe")
        ));
        let registered = push(Some(Target::Log(LogTarget {})));
        assert_ne!(Key::of(&registered), Key::of(&message));
    }

    #[test]
    fn a_badge_has_one_key_and_a_test_none() {
        let (mut one, mut other) = (push(None), push(None));
        one.kind = PushKind::Badge;
        other.kind = PushKind::Badge;
        other.conversation_id = LogId::direct("ann", "zoe");
        assert_eq!(Key::of(&one), Key::of(&other));
        one.kind = PushKind::Test;
        assert_eq!(Key::of(&one), None);
    }

    #[test]
    fn a_key_never_goes_back() {
        let mut newest = Newest::new(8);
        newest.left(key(1), 7);
        newest.left(key(1), 5);
        assert_eq!(newest.position(&key(1)), Some(7));
        assert_eq!(newest.position(&key(2)), None);
    }

    #[test]
    fn the_oldest_keys_are_forgotten_and_those_in_use_are_not() {
        let mut newest = Newest::new(8);
        for number in 0..100 {
            newest.left(key(number), u64::from(number));
            newest.left(key(200), 9);
            assert!(newest.young.len() + newest.old.len() <= 8);
            for recent in number.saturating_sub(2)..=number {
                assert_eq!(newest.position(&key(recent)), Some(u64::from(recent)));
            }
        }
        assert_eq!(newest.position(&key(200)), Some(9));
        assert_eq!(newest.position(&key(3)), None);
    }
}
