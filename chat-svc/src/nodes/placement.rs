//! Placement: which node each shard should be on (rendezvous hashing).
//!
//! Pure. All nodes compute the same from the same leases; a node that comes takes only what is now
//! its own, one that goes leaves the others' as it was.
//!
//! Invariant: leaving nodes get nothing, nor do those that no gateway reaches while another one is
//! reached; a shard that another live node still holds is waited for.

use super::peers::PeerNode;
use heddle_proto::internal::LiveNode;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};
use tokio::time::Instant;

/// Where what is for a shard goes.
#[derive(Clone)]
pub enum Target {
    /// To this node.
    Here,
    /// To another node.
    There(Arc<PeerNode>),
    /// Nobody is known.
    Nowhere,
}

impl Target {
    /// Whether both are the same place.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Here, Self::Here) | (Self::Nowhere, Self::Nowhere) => true,
            (Self::There(one), Self::There(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

/// Where all shards are, as this node knows.
#[derive(Clone)]
pub struct Placement {
    /// Grows with each renewal.
    pub version: u64,
    /// By shard.
    pub targets: Vec<Target>,
    /// Shards of this node that another one still holds.
    pub waits: HashSet<u32>,
    /// Shards of another node that this one serves until that has them.
    pub yields: BTreeSet<u32>,
    /// This node is the only one for ever: nobody needs to be asked.
    pub alone: bool,
    /// The lease has ended: what is under way is given up at once.
    pub lost: bool,
    /// When the lease ends that this placement goes by; none: there is none that could.
    pub valid_until: Option<Instant>,
    /// How often the lease has ended and was got again: what was owned before is not.
    pub lapses: u64,
}

impl Placement {
    /// All shards are here: one process.
    pub fn alone(shard_count: u32) -> Self {
        Self {
            version: 1,
            targets: vec![Target::Here; shard_count as usize],
            waits: HashSet::new(),
            yields: BTreeSet::new(),
            alone: true,
            lost: false,
            valid_until: None,
            lapses: 0,
        }
    }

    /// Nobody is known yet, or no more.
    pub fn nobody(version: u64, shard_count: u32, lost: bool) -> Self {
        Self {
            version,
            targets: vec![Target::Nowhere; shard_count as usize],
            waits: HashSet::new(),
            yields: BTreeSet::new(),
            alone: false,
            lost,
            valid_until: None,
            lapses: 0,
        }
    }

    /// Whether the node holds its lease: it has had one, and has not lost it.
    pub fn holds_lease(&self) -> bool {
        self.version > 0 && !self.lost
    }

    /// What the leases say, to the node called `me`.
    pub fn of(
        version: u64,
        shard_count: u32,
        nodes: &[LiveNode],
        me: &str,
        peers: &BTreeMap<String, Arc<PeerNode>>,
    ) -> Self {
        let staying = staying(nodes);
        let owner = |shard: u32| match preferred(&staying, shard) {
            Some(node) if node == me => Target::Here,
            Some(node) => peers
                .get(node)
                .cloned()
                .map_or(Target::Nowhere, Target::There),
            None => Target::Nowhere,
        };
        let targets: Vec<Target> = (0..shard_count).map(owner).collect();
        let others = nodes.iter().filter(|node| node.node != me);
        let held = others.flat_map(|node| node.owned.iter().copied());
        let here = |shard: &u32| matches!(targets.get(*shard as usize), Some(Target::Here));
        let waits = held.filter(here).collect();
        Self {
            version,
            targets,
            waits,
            yields: BTreeSet::new(),
            alone: false,
            lost: false,
            valid_until: None,
            lapses: 0,
        }
    }

    /// Whether the lease has ended in the meantime.
    pub fn has_lapsed(&self) -> bool {
        self.valid_until
            .is_some_and(|until| Instant::now() >= until)
    }

    /// Whether the shard belongs to this node.
    pub fn is_here(&self, shard: u32) -> bool {
        matches!(self.targets.get(shard as usize), Some(Target::Here))
    }

    /// Whether the shard is another node's as soon as that has it.
    pub fn yields(&self, shard: u32) -> bool {
        self.yields.contains(&shard)
    }

    /// Whether this node should take the shard now.
    pub fn may_take(&self, shard: u32) -> bool {
        self.is_here(shard) && !self.waits.contains(&shard) && !self.yields(shard)
    }
}

/// Names of the nodes that want shards: those that gateways reach, or all if that is none.
pub fn staying(nodes: &[LiveNode]) -> Vec<&str> {
    let staying = nodes.iter().filter(|node| !node.leaving);
    let (cut_off, reached): (Vec<_>, Vec<_>) = staying.partition(|node| node.cut_off);
    let wanted = if reached.is_empty() { cut_off } else { reached };
    wanted.iter().map(|node| node.node.as_str()).collect()
}

/// The node that a shard belongs on.
pub fn preferred<'a>(nodes: &[&'a str], shard: u32) -> Option<&'a str> {
    let scored = nodes.iter().map(|node| (weight(node, shard), *node));
    scored.max().map(|(_, node)| node)
}

/// FNV-1a of the name, and a finaliser (murmur3's) over that and the shard: must be the same in
/// all builds, which the standard library's hashers do not promise.
fn weight(node: &str, shard: u32) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = node.bytes().chain(shard.to_be_bytes());
    let mut mixed = bytes.fold(0xcbf2_9ce4_8422_2325, fnv);
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        mixed ^= mixed >> 33;
        mixed = mixed.wrapping_mul(factor);
    }
    mixed ^ (mixed >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(name: &str, owned: &[u32]) -> LiveNode {
        LiveNode {
            node: name.into(),
            owned: owned.to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn a_shard_that_another_still_holds_is_waited_for() {
        let mut nodes = [node("a", &[]), node("b", &[0, 1, 2, 3])];
        nodes[1].leaving = true;
        let place = |nodes: &[LiveNode]| Placement::of(1, 4, nodes, "a", &BTreeMap::new());
        let waiting = place(&nodes);
        assert!((0..4).all(|shard| waiting.is_here(shard) && !waiting.may_take(shard)));
        nodes[1].owned.clear();
        assert!((0..4).all(|shard| place(&nodes).may_take(shard)));
    }

    #[test]
    fn who_is_cut_off_gets_shards_only_if_all_are() {
        let mut nodes = [node("a", &[]), node("b", &[]), node("c", &[])];
        nodes[1].cut_off = true;
        nodes[2].leaving = true;
        assert_eq!(staying(&nodes), ["a"]);
        nodes[0].cut_off = true;
        assert_eq!(staying(&nodes), ["a", "b"]);
    }

    #[test]
    fn shards_are_spread() {
        let names = ["a", "b", "c"];
        for name in names {
            let mine = |shard: &u32| preferred(&names, *shard) == Some(name);
            let count = (0..1024).filter(mine).count();
            assert!((256..=426).contains(&count), "{name}: {count}");
        }
    }

    proptest! {
        #[test]
        fn a_join_or_a_leave_moves_only_what_must_move(
            names in prop::collection::btree_set("[a-z0-9:.]{1,12}", 2..9),
            at in any::<prop::sample::Index>(),
        ) {
            let all: Vec<&str> = names.iter().map(String::as_str).collect();
            let gone = all[at.index(all.len())];
            let rest: Vec<&str> = all.iter().copied().filter(|name| *name != gone).collect();
            for shard in 0..256 {
                let (with, without) = (preferred(&all, shard), preferred(&rest, shard));
                prop_assert!(with == without || with == Some(gone));
            }
            let mut turned = all.clone();
            turned.reverse();
            prop_assert!((0..256).all(|shard| preferred(&all, shard) == preferred(&turned, shard)));
        }
    }
}
