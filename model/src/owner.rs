//! What an owner does, step by step: raise, read, write again, serve, commit.
//!
//! Called by `protocol` for each action. Between any two steps anything else may happen, or the
//! owner may never go on: pauses and crashes need no steps of their own. Invariant: each step reads
//! or changes one thing that others can see.

use crate::chain;
use crate::mistake::Mistake;
use crate::state::{Anchor, Epoch, Event, Log, Owner, Phase, Replica, Row, SEQS, State};

/// Replicas that make a write or a read count.
const QUORUM: usize = 2;

/// One atomic step of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Raises the epoch.
    Raise,
    /// Raises the epoch again, and goes on with what it knew under the one before.
    Keep,
    /// Planted: begins to read before that.
    BeginUnraised,
    /// Reads the anchor; which replica does not answer.
    ReadAnchor(usize),
    /// Reads the next page of the tail; which replica does not answer.
    ReadRow(usize),
    /// Sends a batch of these events.
    Append([Event; 2]),
    /// Reads the epoch and says OK, or goes.
    Verify,
    /// Planted: says OK for its second batch alone.
    VerifySecond,
    /// Writes its anchor.
    WriteAnchor,
}

/// One owner in a state.
pub struct Step<'a> {
    /// The state that is changed.
    pub state: &'a mut State,
    /// Which owner: its epoch - 1.
    pub index: usize,
    /// What is planted.
    pub mistake: Option<Mistake>,
}

/// Replicas whose answers make a write count.
pub fn replicas_needed(mistake: Option<Mistake>) -> usize {
    if mistake == Some(Mistake::OneReplica) {
        1
    } else {
        QUORUM
    }
}

impl Step<'_> {
    /// Goes on.
    pub fn act(&mut self, act: Act) {
        match act {
            Act::Raise => self.raise(),
            Act::Keep => self.keep(),
            Act::BeginUnraised => self.owner().phase = Phase::Raised,
            Act::ReadAnchor(without) => self.read_anchor(without),
            Act::ReadRow(without) => self.read_row(without),
            Act::Append(events) => self.append(events),
            Act::Verify => self.verify(),
            Act::VerifySecond => self.verify_second(),
            Act::WriteAnchor => self.write_anchor(),
        }
    }

    fn owner(&mut self) -> &mut Owner {
        &mut self.state.owners[self.index]
    }

    fn epoch(&self) -> Epoch {
        self.index as Epoch + 1
    }

    fn is(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// The conditional write, read back. An outcome that stays unknown is a raise by an owner that
    /// never goes on.
    fn raise(&mut self) {
        self.state.epoch = self.epoch();
        if self.owner().phase == Phase::ReadUnraised {
            self.settle();
        } else {
            self.owner().phase = Phase::Raised;
        }
    }

    /// A shard moves to another history-svc with what it knows; the one before tells it nothing
    /// more. An OK of which the epoch was read earlier has come earlier.
    fn keep(&mut self) {
        let mut earlier = self.state.owners[..self.index].iter();
        let before = match self.is(Mistake::KeptAcrossAnOwner) {
            true => earlier.position(|owner| owner.phase == Phase::Serving),
            false => self.index.checked_sub(1),
        };
        let Some(before) = before else { return };
        let kept = self.state.owners[before].log;
        self.state.owners[before] = Owner {
            phase: Phase::Gone,
            ..Owner::default()
        };
        self.state.epoch = self.epoch();
        *self.owner() = Owner {
            phase: Phase::Raised,
            kept: Some(kept),
            ..Owner::default()
        };
    }

    /// Reads the anchor from all replicas but one.
    fn read_anchor(&mut self, without: usize) {
        let anchor = self.read(without, |replica| replica.anchor);
        *self.owner() = Owner {
            phase: Phase::Reading(SEQS as u8),
            anchor,
            kept: self.owner().kept,
            ..Owner::default()
        };
        self.settle_if_read();
    }

    /// Reads the next page: one key, from all replicas but one.
    fn read_row(&mut self, without: usize) {
        let Phase::Reading(key) = self.owner().phase else {
            return;
        };
        let index = usize::from(key) - 1;
        let seen = self.read(without, |replica| replica.rows[index]);
        self.owner().seen[index] = seen;
        self.owner().phase = Phase::Reading(key - 1);
        self.settle_if_read();
    }

    fn read(&self, without: usize, cell: impl Fn(&Replica) -> Epoch) -> Epoch {
        let asked = self.state.replicas.iter().enumerate();
        let asked = asked.filter(|(replica, _)| *replica != without);
        asked.map(|(_, replica)| cell(replica)).max().unwrap_or(0)
    }

    fn settle_if_read(&mut self) {
        let anchor = self.state.owners[self.index].anchor;
        let head = self.state.anchor(anchor).head;
        match self.owner().phase {
            Phase::Reading(left) if left <= head => {}
            _ => return,
        }
        if self.is(Mistake::TailBeforeRaise) {
            self.owner().phase = Phase::ReadUnraised;
        } else {
            self.settle();
        }
    }

    /// The tail is read: what is its end, and is it certain?
    fn settle(&mut self) {
        let owner = self.state.owners[self.index];
        let Ok(chain) = chain::judge(self.state, &owner, self.mistake) else {
            // DATA_LOSS. A former owner may read it out of what the next one let expire.
            self.state.data_lost |= self.state.epoch == self.epoch();
            self.go();
            return;
        };
        let mut settled = Owner {
            log: chain.log,
            head: chain.head,
            ..Owner::default()
        };
        settled.phase = Phase::Serving;
        if chain.uncertain > 0 && !self.is(Mistake::TailNotRewritten) {
            settled.phase = Phase::Rewriting;
            for key in (1..=SEQS as u8).filter(|key| chain.rows[usize::from(*key) - 1]) {
                let row = self.state.row(key, owner.seen[usize::from(key) - 1]);
                self.send(key, row);
                let place = usize::from(settled.in_flight[0] != 0);
                settled.in_flight[place] = key;
            }
            settled.head = chain.uncertain - 1;
        }
        if let Some(kept) = owner.kept {
            self.go_on_with(kept, chain.head, &mut settled);
        }
        self.state.owners[self.index] = settled;
    }

    /// The log is certain up to `head`; what is known beyond was in flight. A row in the place of
    /// one's own is taken for it if it is as long: that is what the mistake lives on.
    fn go_on_with(&self, kept: Log, head: u8, settled: &mut Owner) {
        let head = usize::from(head);
        if kept[..head] == settled.log[..head] {
            let mut left = kept[head..].iter().copied();
            settled.again = std::array::from_fn(|_| left.next().unwrap_or(0));
        } else if kept[head - 1] != 0 && kept.get(head).is_none_or(|event| *event == 0) {
            settled.log = kept;
        }
    }

    fn go(&mut self) {
        *self.owner() = Owner {
            phase: Phase::Gone,
            ..Owner::default()
        };
    }

    fn send(&mut self, key: u8, row: Row) {
        self.state.sent[usize::from(key) - 1][self.index] = row;
    }

    /// Sends a batch behind what it has.
    fn append(&mut self, events: [Event; 2]) {
        let index = self.index;
        let owner = &mut self.state.owners[index];
        let end = end(owner);
        let committed_head = owner.head;
        let place = usize::from(owner.in_flight[0] != 0);
        owner.in_flight[place] = end + 1;
        owner.again = [0; 2];
        let sent = events.into_iter().filter(|event| *event != 0);
        for (head, event) in (usize::from(end)..).zip(sent) {
            owner.log[head] = event;
        }
        if self.is(Mistake::SeveralRows) && events[1] != 0 {
            self.owner().in_flight[1] = end + 2;
            self.send(
                end + 1,
                Row {
                    events: [events[0], 0],
                    committed_head,
                },
            );
            self.send(
                end + 2,
                Row {
                    events: [events[1], 0],
                    committed_head,
                },
            );
        } else {
            self.send(
                end + 1,
                Row {
                    events,
                    committed_head,
                },
            );
        }
    }

    /// Reads the epoch once what is in flight is stored; commits or goes.
    fn verify(&mut self) {
        let (epoch, current) = (self.epoch(), self.state.epoch);
        if current != epoch && !self.is(Mistake::OkBeforeEpochRead) {
            self.go();
            return;
        }
        let owner = self.owner();
        owner.phase = Phase::Serving;
        owner.in_flight = [0; 2];
        owner.head = end(owner);
        if owner.anchored && self.state.is_anchored(epoch, QUORUM) {
            let head = self.state.anchor(epoch).head;
            self.state.expirable = self.state.expirable.max(head);
        }
        self.acknowledge();
    }

    /// Planted with two in flight: the second is stored, the first not; each answers for itself.
    fn verify_second(&mut self) {
        if self.state.epoch != self.epoch() {
            self.go();
            return;
        }
        let [_, key] = self.owner().in_flight;
        let row = self.state.row(key, self.epoch());
        for (offset, event) in row
            .events
            .into_iter()
            .enumerate()
            .filter(|(_, id)| *id != 0)
        {
            self.say_ok(usize::from(key) - 1 + offset, event);
        }
        self.owner().in_flight[1] = 0;
    }

    /// Clients that ask again get an OK for whatever is committed.
    fn acknowledge(&mut self) {
        let owner = self.state.owners[self.index];
        for seq in 0..usize::from(owner.head) {
            self.say_ok(seq, owner.log[seq]);
        }
    }

    fn say_ok(&mut self, index: usize, event: Event) {
        let place = &mut self.state.acknowledged[index];
        self.state.seq_reused |= *place != 0 && *place != event;
        *place = event;
    }

    /// Writes down a committed head that never expires.
    fn write_anchor(&mut self) {
        let owner = self.owner();
        owner.anchored = true;
        let mut stubs = owner.log;
        stubs[usize::from(owner.head)..].fill(0);
        let anchor = Anchor {
            head: owner.head,
            stubs,
        };
        self.state.anchors[self.index] = anchor;
        if self.is(Mistake::ExpiryBeforeAnchor) {
            self.state.expirable = self.state.expirable.max(anchor.head);
        }
    }
}

/// Where an owner's log ends, what is in flight included.
pub fn end(owner: &Owner) -> u8 {
    owner.log.iter().take_while(|event| **event != 0).count() as u8
}
