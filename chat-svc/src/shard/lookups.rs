//! Lookups of a shard: ids that a conversation's index cannot speak for are looked up in its log,
//! by one reading for all commands that ask at a time.
//!
//! After an outage every device sends again what it had under way, and all of that is older than
//! what the next owner has loaded. A busy group stores thousands of events in the time that must be
//! read, and each old id that is stored makes other readings void ([`Lookup`]): one reading each
//! would take their number squared.
//!
//! Invariant: at most one reading of ids is under way for a log, and each command that waits for it
//! is decided, or asks again, when it ends.

use super::{
    Shard, overloaded,
    reads::{Asking, Purpose, events, range},
};
use crate::conversation::lookup::Lookup;
use heddle_proto::{
    ids::{LogId, MessageId},
    internal::{Command, RangeQuery, ReadOutcome, TimeQuery, command::Op, read::Query},
};

/// Events read back at once when an old id is looked for.
const READ_BACK_EVENTS: u32 = 1_000;

/// Ids that are looked up in the events stored since a time, page by page.
pub(super) struct IdsRead {
    /// The conversation's.
    pub log: LogId,
    lookup: Lookup,
    searched: bool,
    waiting: Vec<Asking>,
    /// They asked while this was under way, for events since then: the next reading is theirs.
    next: Vec<(u64, Asking)>,
}

impl IdsRead {
    /// All who wait for it, or for the one after it.
    pub fn into_waiting(self) -> impl Iterator<Item = Asking> {
        let next = self.next.into_iter().map(|(_, asking)| asking);
        self.waiting.into_iter().chain(next)
    }
}

impl Shard {
    /// Looks the ids that a command names up in the log, from a time on.
    pub(super) fn read_ids(&mut self, log: LogId, since_ms: u64, asking: Asking) {
        let most = self.around.config.waiting_max;
        let under_way = self.reads.lookup_of(&log);
        if under_way.is_some_and(|ids| ids.next.len() >= most) {
            return self.turn_away(&asking.0, *asking.1, &overloaded());
        }
        self.read_all_ids(log, vec![(since_ms, asking)]);
    }

    fn read_all_ids(&mut self, log: LogId, asking: Vec<(u64, Asking)>) {
        if let Some(under_way) = self.reads.lookup_of(&log) {
            return under_way.next.extend(asking);
        }
        let Some(since_ms) = asking.iter().map(|(since_ms, _)| *since_ms).min() else {
            return;
        };
        let Some(conversation) = self.conversation_mut(&log) else {
            // Not loaded any more: each of them loads it.
            return self.ask_again(asking.into_iter().map(|(_, asking)| asking));
        };
        let named = asking.iter().filter_map(|(_, (_, command))| named(command));
        let lookup = conversation.look_up(since_ms, named.flatten());
        let query = TimeQuery {
            log_id: log.to_bytes(),
            time_ms: since_ms,
            head: lookup.last_seq,
        };
        let ids = IdsRead {
            log,
            lookup,
            searched: false,
            waiting: asking.into_iter().map(|(_, asking)| asking).collect(),
            next: Vec::new(),
        };
        self.read(Query::Time(query), Purpose::Ids(Box::new(ids)));
    }

    pub(super) fn ids_read(&mut self, mut ids: IdsRead, outcome: ReadOutcome) {
        let read = events(&outcome.events);
        ids.lookup.take(&read);
        let last_seq = ids.lookup.last_seq;
        let next_seq = match read.last() {
            Some(last) => last.seq + 1,
            None if ids.searched || outcome.seq == 0 => last_seq + 1,
            None => outcome.seq,
        };
        if next_seq > last_seq {
            return self.ids_known(ids);
        }
        ids.searched = true;
        let query = match range(&ids.log, next_seq, last_seq) {
            Query::Range(query) => Query::Range(RangeQuery {
                events_max: READ_BACK_EVENTS,
                ..query
            }),
            other => other,
        };
        self.read(query, Purpose::Ids(Box::new(ids)));
    }

    fn ids_known(&mut self, ids: IdsRead) {
        let IdsRead {
            log,
            lookup,
            waiting,
            next,
            ..
        } = ids;
        if let Some(conversation) = self.conversation_mut(&log) {
            conversation.learn(lookup);
        }
        self.ask_again(waiting.into_iter());
        // Who of them was not served has begun another reading, which the others join.
        self.read_all_ids(log, next);
    }

    fn ask_again(&mut self, asking: impl Iterator<Item = Asking>) {
        for (edge, command) in asking {
            self.conversation_command(&edge, command);
        }
    }
}

/// The ids that a send names.
fn named(command: &Command) -> Option<impl Iterator<Item = MessageId>> {
    let Some(Op::Append(append)) = &command.op else {
        return None;
    };
    let named = [&append.client_message_id, &append.predecessor_id];
    Some(named.into_iter().filter_map(|id| MessageId::from_wire(id)))
}
