//! Room: what has been taken in while the batch is full waits for the next one.
//!
//! Inputs wait in their queues while it is full. But a mailbox that is loaded, a hole that is
//! filled or a shard that is taken sets thousands of pieces and commands free at once; a row of the
//! log that got them all would be refused by the store, and so would each batch after it.
//!
//! Invariant: a log gets at most `BATCH_EVENTS_MAX` events in one batch, and what waits here goes
//! before all that comes later for the same log.

use super::{Shard, edges::Edge, owner_changing};
use heddle_proto::internal::Command;
use std::{collections::VecDeque, sync::Arc};

/// Commands in the order in which they are to be decided. They have been counted by the lists in
/// which they waited before.
#[derive(Default)]
pub(super) struct Room {
    commands: VecDeque<(Arc<Edge>, Box<Command>)>,
    pieces_wait: bool,
}

impl Room {
    /// Whether no command waits.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// A command waits for room.
    pub fn push(&mut self, edge: &Arc<Edge>, command: Box<Command>) {
        self.commands.push_back((edge.clone(), command));
    }
}

impl Shard {
    /// Whether there is none: a piece stays among those that are held then.
    pub(super) fn lacks_room(&mut self) -> bool {
        let is_full = self.batch.is_full();
        self.room.pieces_wait |= is_full;
        is_full
    }

    /// Takes in what waits for room, as far as there is some.
    pub(super) fn use_room(&mut self) {
        while !self.batch.is_full()
            && let Some((edge, command)) = self.room.commands.pop_front()
        {
            self.take_command(&edge, command);
        }
        if !self.batch.is_full() && std::mem::take(&mut self.room.pieces_wait) {
            self.apply_held();
        }
    }

    /// The shard goes: the next owner is to be asked.
    pub(super) fn refuse_what_waits_for_room(&mut self) {
        let room = std::mem::take(&mut self.room);
        for (edge, command) in room.commands {
            self.turn_away(&edge, *command, &owner_changing());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{bare, batch::BATCH_EVENTS_MAX};
    use heddle_proto::{
        internal::{FanOutEvent, RawEvent, ReadOutcome, command::Op},
        v1::ConversationSettings,
    };
    use prost::Message as _;

    /// More than a row holds.
    const MANY: u64 = 1_500;

    /// An event for bob.
    fn comes(shard: &mut Shard, seq: u64) {
        let event = FanOutEvent {
            seq,
            ..Default::default()
        };
        bare::comes(shard, bare::event_for_bob(event));
    }

    /// What is being read is read as these events.
    fn read(shard: &mut Shard, seqs: impl Iterator<Item = u64>) {
        let event = |seq| RawEvent {
            seq,
            ..Default::default()
        };
        let outcome = ReadOutcome {
            events: seqs.map(|seq| event(seq).encode_to_vec().into()).collect(),
            ..Default::default()
        };
        bare::answer_read(shard, outcome);
    }

    /// What bob's mailbox takes in, batch by batch.
    fn batches(shard: &mut Shard) -> Vec<Vec<u64>> {
        let mut all = Vec::new();
        while !shard.batch.due.is_empty() {
            let batch = std::mem::take(&mut shard.batch);
            assert!(batch.event_count() <= BATCH_EVENTS_MAX);
            all.push(batch.due.iter().map(|due| due.which.1).collect());
            shard.use_room();
        }
        all
    }

    #[tokio::test]
    async fn pieces_that_waited_for_a_mailbox_fill_no_row_too_far() {
        let mut shard = bare::taken_shard();
        (1..=MANY).for_each(|seq| comes(&mut shard, seq));
        bare::load_bob(&mut shard);
        let batches = batches(&mut shard);
        assert_eq!(batches.len(), 3);
        assert_eq!(batches.concat(), (1..=MANY).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nor_does_a_hole_that_is_filled() {
        let mut shard = bare::taken_shard();
        comes(&mut shard, 1);
        bare::load_bob(&mut shard);
        let mut seqs = batches(&mut shard).concat();
        comes(&mut shard, MANY);
        while seqs.last() != Some(&MANY) {
            let next = seqs.last().map_or(1, |last| last + 1);
            read(&mut shard, next..(next + 1_000).min(MANY));
            seqs.extend(batches(&mut shard).concat());
        }
        assert_eq!(seqs, (1..=MANY).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nor_do_commands() {
        let mut shard = bare::taken_shard();
        let edge = Edge::new(1).0;
        let command = |id: u64| Command {
            id,
            user_id: "bob".into(),
            op: Some(Op::Settings(ConversationSettings {
                conversation_id: bare::TALK.to_vec().into(),
                ..Default::default()
            })),
            ..Default::default()
        };
        comes(&mut shard, 1);
        (1..=1_000).for_each(|id| shard.on_command(&edge, command(id)));
        bare::load_bob(&mut shard);
        assert!(!shard.takes_commands(), "those that wait go first");
        (1_001..=MANY).for_each(|id| shard.on_command(&edge, command(id)));
        let mut ids = Vec::new();
        while !shard.batch.is_empty() {
            let batch = std::mem::take(&mut shard.batch);
            assert!(batch.event_count() <= BATCH_EVENTS_MAX);
            ids.extend(batch.answers.iter().map(|answer| answer.id));
            shard.use_room();
        }
        assert_eq!(ids, (1..=MANY).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_shard_that_goes_refuses_them() {
        let mut shard = bare::taken_shard();
        let edge = Edge::new(1).0;
        shard.room.push(&edge, Box::default());
        shard.refuse_what_waits_for_room();
        assert!(shard.room.is_empty());
    }
}
