//! Pair: the two users between whom a gateway's own messages go.
//!
//! Pure. Their names are reserved (`heddle_proto::ids::RESERVED_PREFIX`): no token is taken for
//! them and no request may name them, so nobody else is in their conversation.
//!
//! Invariant: there are at most [`PAIRS_MAX`] pairs, whoever starts however often. Gateways that
//! share one do not disturb each other: they look for ids of their own, and a session without a
//! device replaces no other.

use heddle_proto::{
    fingerprint,
    ids::{LogId, RESERVED_PREFIX},
};

/// Pairs of a deployment: its conversations of this kind, and half the mailboxes.
const PAIRS_MAX: u64 = 64;
/// Tells this use of a fingerprint from others.
const PAIR_KIND: u8 = 0;

/// Who sends, and who hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Sends.
    pub from: String,
    /// Hears.
    pub to: String,
}

impl Pair {
    /// The pair of a gateway with this name.
    pub fn of(gateway: &str) -> Self {
        let number = fingerprint::opaque(PAIR_KIND, gateway.as_bytes()) % PAIRS_MAX;
        let user = |end| format!("{RESERVED_PREFIX}canary:{number}:{end}");
        Self {
            from: user("from"),
            to: user("to"),
        }
    }

    /// Their conversation.
    pub fn conversation(&self) -> LogId {
        LogId::direct(&self.from, &self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::ids;
    use std::collections::BTreeSet;

    #[test]
    fn a_gateway_has_one_pair_and_all_of_them_have_few() {
        assert_eq!(Pair::of("https://one"), Pair::of("https://one"));
        let pairs = (0..10_000).map(|number| Pair::of(&format!("gateway {number}")).from);
        let pairs: BTreeSet<_> = pairs.collect();
        assert_eq!(pairs.len() as u64, PAIRS_MAX);
    }

    #[test]
    fn both_are_reserved_and_not_the_same() {
        let pair = Pair::of("https://one");
        assert!(ids::is_reserved(&pair.from) && ids::is_reserved(&pair.to));
        assert_ne!(pair.from, pair.to);
    }
}
