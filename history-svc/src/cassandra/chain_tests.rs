//! The protocol around `judge`, with three replicas, owners that pause and die at any step, and
//! messages that arrive late or only at some: what was acknowledged is in every later owner's log.
//!
//! A sketch of DESIGN section 5 at random; not the exhaustive model. It fails with an OK before the
//! epoch is read, with one replica for two, and with a tail that is not written again.

use std::collections::BTreeMap;

use super::*;
use proptest::prelude::*;

const REPLICAS: usize = 3;
const OWNERS: usize = 3;

/// A row in a replica: what a take-over sees, its write timestamp, and which row it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stored {
    seen: Seen,
    stamp: (u64, u64),
    id: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    /// The epoch is raised; the tail is not read yet.
    Raised,
    /// Written at a majority; the epoch is not verified yet.
    Written,
    /// Owns the log.
    Serving,
}

#[derive(Clone, Debug, Default)]
struct Owner {
    phase: Phase,
    epoch: u64,
    count: u64,
    rows: Vec<Stored>,
    head: u64,
}

#[derive(Default)]
struct World {
    epoch: u64,
    ids: u64,
    replicas: [BTreeMap<u64, Stored>; REPLICAS],
    late: Vec<(usize, Stored)>,
    owners: [Owner; OWNERS],
    acknowledged: Vec<Stored>,
}

impl World {
    /// Delivers to some replicas now, to the others perhaps later. Whether a majority has it.
    fn write(&mut self, row: Stored, reached: [bool; REPLICAS]) -> bool {
        for (replica, reached) in reached.into_iter().enumerate() {
            if reached {
                self.store(replica, row);
            } else {
                self.late.push((replica, row));
            }
        }
        reached.into_iter().filter(|&reached| reached).count() * 2 > REPLICAS
    }

    fn store(&mut self, replica: usize, row: Stored) {
        let rows = &mut self.replicas[replica];
        let known = rows.get(&row.seen.first_seq);
        if known.is_none_or(|known| known.stamp < row.stamp) {
            rows.insert(row.seen.first_seq, row);
        }
    }

    /// A tail as two replicas tell it, row by row.
    fn read(&self, without: usize) -> Vec<Stored> {
        let mut merged = BTreeMap::<u64, Stored>::new();
        for (replica, rows) in self.replicas.iter().enumerate() {
            for (key, row) in rows.iter().filter(|_| replica != without) {
                let known = merged.entry(*key).or_insert(*row);
                if known.stamp < row.stamp {
                    *known = *row;
                }
            }
        }
        merged.into_values().collect()
    }

    /// The owner's next step.
    fn step(&mut self, index: usize, reached: [bool; REPLICAS], count: u64) {
        let mut owner = std::mem::take(&mut self.owners[index]);
        match owner.phase {
            Phase::Idle => {
                self.epoch += 1;
                owner = Owner {
                    phase: Phase::Raised,
                    epoch: self.epoch,
                    ..Owner::default()
                };
            }
            Phase::Raised => self.take_over(&mut owner, reached, count as usize % REPLICAS),
            Phase::Written if self.epoch == owner.epoch => {
                owner.phase = Phase::Serving;
                owner.head = owner.rows.last().map_or(0, |row| row.seen.last_seq);
                self.check(&owner);
                self.acknowledged = owner.rows.clone();
            }
            Phase::Written => owner.phase = Phase::Idle,
            Phase::Serving => {
                self.ids += 1;
                let seen = Seen {
                    first_seq: owner.head + 1,
                    last_seq: owner.head + count,
                    ballot: owner.epoch,
                    committed_head: owner.head,
                };
                let row = owner.stamped(seen, self.ids);
                owner.rows.push(row);
                let stored = self.write(row, reached);
                owner.phase = if stored { Phase::Written } else { Phase::Idle };
            }
        }
        self.owners[index] = owner;
    }

    fn take_over(&mut self, owner: &mut Owner, reached: [bool; REPLICAS], without: usize) {
        let rows = self.read(without);
        let seen: Vec<Seen> = rows.iter().map(|row| row.seen).collect();
        let chain = judge(0, &seen).expect("nothing that was committed is missing");
        owner.rows = rows[..chain.len].to_vec();
        let mut stored = true;
        for at in chain.uncertain..chain.len {
            let Stored { seen, id, .. } = owner.rows[at];
            let ballot = owner.epoch;
            owner.rows[at] = owner.stamped(Seen { ballot, ..seen }, id);
            stored &= self.write(owner.rows[at], reached);
        }
        owner.phase = if stored { Phase::Written } else { Phase::Idle };
    }

    /// Whoever owns the log has all of it that was ever acknowledged.
    fn check(&self, owner: &Owner) {
        for row in &self.acknowledged {
            let same = |own: &&Stored| {
                let place = |seen: &Seen| (seen.first_seq, seen.last_seq);
                own.id == row.id && place(&own.seen) == place(&row.seen)
            };
            assert!(
                owner.rows.iter().any(|own| same(&own)),
                "{row:?} is lost: {owner:?}"
            );
        }
    }
}

impl Owner {
    fn stamped(&mut self, seen: Seen, id: u64) -> Stored {
        self.count += 1;
        let stamp = (self.epoch, self.count);
        Stored { seen, stamp, id }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_was_acknowledged_is_in_every_later_log(
        steps in prop::collection::vec(
            (0..OWNERS, prop::array::uniform3(prop::bool::weighted(0.7)), 1u64..4, any::<u8>()),
            1..80,
        )
    ) {
        let mut world = World::default();
        for (owner, reached, count, chance) in steps {
            if chance < 40 && !world.late.is_empty() {
                let (replica, row) = world.late.swap_remove(usize::from(chance) % world.late.len());
                world.store(replica, row);
            } else if chance < 60 {
                world.owners[owner] = Owner::default();
            } else {
                world.step(owner, reached, count);
            }
        }
    }
}
