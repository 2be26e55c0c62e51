//! Loading logs as they are first touched: which reads, and what they add up to.

use super::{
    Shard,
    conversations::{ConversationSlot, Loading},
    mailboxes::{LiveMailbox, LoadingMailbox, MailboxSlot, Waiting},
    reads::{Purpose, decode, events},
    recover::UNNOTED_MAX_MS,
};
use crate::{
    conversation::{Conversation, Loaded, event, index::ID_AHEAD_MAX_MS, tail::TAIL_EVENTS_MAX},
    mailbox::{Mailbox, notices::Notices, push::Device},
};
use bytes::Bytes;
use heddle_proto::{
    ids::LogId,
    internal::{
        MailboxEntry, PartitionQuery, RangeQuery, ReadOutcome, Table, TailQuery, read::Query,
    },
};
use prost::Message as _;
use std::sync::Arc;

/// Events of a busy log that are read so that ids of the last minute are known.
const TAIL_IDS_MAX: usize = 65_536;

/// Parts of a conversation.
#[derive(Clone, Copy)]
pub(super) enum ConversationPart {
    Row,
    Members,
    Tail,
}

/// Parts of a mailbox.
#[derive(Clone, Copy)]
pub(super) enum MailboxPart {
    Checkpoint,
    Devices,
    Cursors,
    User,
    Notices,
    Tail,
}

fn partition(table: Table, partition: Bytes) -> Query {
    Query::Partition(PartitionQuery {
        table: table as i32,
        partition,
        ..Default::default()
    })
}

/// The shard that loads, and its epoch: the store makes a log's end certain for it.
type Loader = (u32, u64);

fn tail((shard, epoch): Loader, log: &LogId, from_seq: u64) -> Query {
    let (log_id, events_min) = (log.to_bytes(), TAIL_EVENTS_MAX as u32);
    Query::Tail(TailQuery {
        log_id,
        from_seq,
        events_min,
        shard,
        epoch,
    })
}

impl Shard {
    pub(super) fn load_conversation(&mut self, log: LogId, waiting: Vec<Waiting>) {
        let loading = Loading {
            parts_left: 3,
            waiting,
            ..Default::default()
        };
        self.conversations
            .insert(log, ConversationSlot::Loading(loading));
        let tail = tail(self.loader(), &log, 0);
        self.read(tail, Purpose::Conversation(log, ConversationPart::Tail));
    }

    /// Projections are read once the log's end is certain, since making it so may finish them.
    fn load_projections(&mut self, log: LogId) {
        for (table, part) in [
            (Table::Conversations, ConversationPart::Row),
            (Table::Members, ConversationPart::Members),
        ] {
            let query = partition(table, log.to_bytes());
            self.read(query, Purpose::Conversation(log, part));
        }
    }

    fn loader(&self) -> Loader {
        (self.index, self.ownership.map_or(0, |own| own.epoch))
    }

    pub(super) fn conversation_part(
        &mut self,
        log: LogId,
        part: ConversationPart,
        outcome: ReadOutcome,
    ) {
        let (now_ms, loader) = (self.now_ms(), self.loader());
        let Some(ConversationSlot::Loading(loading)) = self.conversations.get_mut(&log) else {
            return;
        };
        let (mut more, mut tail_begun) = (None, false);
        match part {
            ConversationPart::Row => {
                loading.loaded.row = outcome.cells.into_iter().next().and_then(decode);
            }
            ConversationPart::Members => {
                let last = outcome.cells.last().map(|cell| cell.clustering.clone());
                loading
                    .loaded
                    .members
                    .extend(outcome.cells.into_iter().filter_map(decode));
                more = last.filter(|_| outcome.more).map(|after_clustering| {
                    Query::Partition(PartitionQuery {
                        table: Table::Members as i32,
                        partition: log.to_bytes(),
                        after_clustering,
                        ..Default::default()
                    })
                });
            }
            ConversationPart::Tail => {
                tail_begun = !std::mem::replace(&mut loading.tail_begun, true);
                let last = outcome.rows.last().and_then(|row| row.batch.as_ref());
                loading.last_row_seq = last.map_or(loading.last_row_seq, |row| row.first_seq);
                more = take_tail(loader, &log, &mut loading.loaded, outcome, now_ms);
            }
        }
        loading.parts_left -= u32::from(more.is_none());
        let ready = loading.parts_left == 0;
        if tail_begun {
            self.load_projections(log);
        }
        if let Some(query) = more {
            return self.read(query, Purpose::Conversation(log, part));
        }
        if let Some(ConversationSlot::Loading(loading)) = self.conversations.get_mut(&log)
            && ready
        {
            let loaded = std::mem::take(&mut loading.loaded);
            let last_ms = loaded.events.last().map_or(0, event::time_ms);
            let is_young = last_ms + UNNOTED_MAX_MS >= now_ms;
            let unnoted_seq = if is_young { loading.last_row_seq } else { 0 };
            self.conversation_ready(log, Conversation::load(log, loaded), unnoted_seq);
        }
    }

    pub(super) fn conversation_mut(&mut self, log: &LogId) -> Option<&mut Conversation> {
        match self.conversations.get_mut(log) {
            Some(ConversationSlot::Ready(live)) => Some(&mut live.conversation),
            _ => None,
        }
    }

    pub(super) fn load_mailbox(&mut self, user: Arc<str>, waiting: Vec<Waiting>) {
        let mailbox = LogId::mailbox(&user).to_bytes();
        let user_id = Bytes::copy_from_slice(user.as_bytes());
        let loading = LoadingMailbox {
            parts_left: 5,
            waiting,
            ..Default::default()
        };
        self.mailboxes
            .insert(user.clone(), MailboxSlot::Loading(Box::new(loading)));
        let parts = [
            (Table::Checkpoints, mailbox.clone(), MailboxPart::Checkpoint),
            (Table::Notices, mailbox.clone(), MailboxPart::Notices),
            (Table::DeviceCursors, mailbox, MailboxPart::Cursors),
            (Table::Devices, user_id.clone(), MailboxPart::Devices),
            (Table::Users, user_id, MailboxPart::User),
        ];
        for (table, key, part) in parts {
            self.read(partition(table, key), Purpose::Mailbox(user.clone(), part));
        }
    }

    pub(super) fn mailbox_part(&mut self, user: Arc<str>, part: MailboxPart, outcome: ReadOutcome) {
        let loader = self.loader();
        let Some(MailboxSlot::Loading(loading)) = self.mailboxes.get_mut(&user) else {
            return;
        };
        match part {
            MailboxPart::Checkpoint => {
                loading.checkpoint = outcome.cells.into_iter().next().and_then(decode);
            }
            MailboxPart::User => loading.user = outcome.cells.into_iter().next().and_then(decode),
            MailboxPart::Notices => {
                let row = outcome.cells.into_iter().next().and_then(decode);
                loading.notices = row.unwrap_or_default();
            }
            MailboxPart::Devices => {
                for cell in outcome.cells {
                    let id = String::from_utf8_lossy(&cell.clustering).into_owned();
                    device_of(&mut loading.devices, id).row = decode(cell).unwrap_or_default();
                }
            }
            MailboxPart::Cursors => {
                for cell in outcome.cells {
                    let id = String::from_utf8_lossy(&cell.clustering).into_owned();
                    device_of(&mut loading.devices, id).cursor = decode(cell).unwrap_or_default();
                }
            }
            MailboxPart::Tail => {
                for row in outcome.rows {
                    let entries = row.batch.map(|batch| batch.events).unwrap_or_default();
                    let entries = entries
                        .into_iter()
                        .filter_map(|e| MailboxEntry::decode(e).ok());
                    loading
                        .entries
                        .extend(entries.map(|entry| (entry, row.nonce)));
                }
                if outcome.more
                    && let Some((last, _)) = loading.entries.last()
                {
                    let query = tail(loader, &LogId::mailbox(&user), last.position + 1);
                    return self.read(query, Purpose::Mailbox(user, MailboxPart::Tail));
                }
                return self.mailbox_ready(user);
            }
        }
        loading.parts_left -= 1;
        if loading.parts_left == 0 {
            let checkpoint = loading.checkpoint.clone().unwrap_or_default();
            let from = checkpoint.position.min(checkpoint.push_position) + 1;
            let query = tail(loader, &LogId::mailbox(&user), from);
            self.read(query, Purpose::Mailbox(user, MailboxPart::Tail));
        }
    }

    /// All parts are there: the mailbox serves who waited for it.
    fn mailbox_ready(&mut self, user: Arc<str>) {
        let Some(MailboxSlot::Loading(loading)) = self.mailboxes.remove(&user) else {
            return;
        };
        let push_position = loading
            .checkpoint
            .as_ref()
            .map_or(0, |row| row.push_position);
        let mut mailbox = Mailbox::load(LogId::mailbox(&user), &user, loading.checkpoint);
        mailbox.devices = loading.devices.into_iter().collect();
        mailbox.user = loading.user;
        mailbox.notices = Notices::from_row(loading.notices);
        for (entry, nonce) in loading.entries {
            mailbox.replay(&entry, nonce, push_position);
        }
        let now_ms = self.now_ms();
        let owes = mailbox.owes(now_ms);
        let noted_window = self.recovering.mailboxes.remove(&user).unwrap_or(0);
        let live = LiveMailbox {
            mailbox,
            noted_window,
            push_due_ms: 0,
            owes,
            used_ms: now_ms,
        };
        self.mailboxes
            .insert(user.clone(), MailboxSlot::Ready(Box::new(live)));
        if owes {
            self.schedule_push(&user);
        }
        for waiting in loading.waiting {
            match waiting {
                Waiting::Command(edge, command) => self.mailbox_command(&edge, command),
                Waiting::Piece(piece) => self.apply_or_hold(piece),
            }
        }
    }
}

fn device_of(devices: &mut Vec<(String, Device)>, id: String) -> &mut Device {
    let at = devices
        .iter()
        .position(|(known, _)| *known == id)
        .unwrap_or_else(|| {
            devices.push((id, Device::default()));
            devices.len() - 1
        });
    &mut devices[at].1
}

/// Adds what was read of a tail; answers with another query where there is more above, or where a
/// busy log must be read further down, so that ids of the last minute are known.
fn take_tail(
    loader: Loader,
    log: &LogId,
    loaded: &mut Loaded,
    outcome: ReadOutcome,
    now_ms: u64,
) -> Option<Query> {
    let more_above = outcome.more && !outcome.rows.is_empty();
    let rows = outcome.rows.into_iter().filter_map(|row| row.batch);
    let next_seq = loaded.events.last().map_or(0, |event| event.seq + 1);
    let newer = rows.flat_map(|batch| events(&batch.events));
    loaded
        .events
        .extend(newer.filter(|event| event.seq >= next_seq));
    let older = events(&outcome.events);
    let found_older = !older.is_empty();
    loaded.events.splice(0..0, older.into_iter().rev());
    if more_above {
        return loaded
            .events
            .last()
            .map(|last| tail(loader, log, last.seq + 1));
    }
    let first = loaded.events.first()?;
    let fresh = event::time_ms(first) + ID_AHEAD_MAX_MS >= now_ms;
    let further = fresh && first.seq > 1 && loaded.events.len() < TAIL_IDS_MAX;
    let goes_on = further && (found_older || next_seq == 0);
    goes_on.then(|| {
        Query::Range(RangeQuery {
            log_id: log.to_bytes(),
            from_seq: 1,
            to_seq: first.seq - 1,
            descending: true,
            ..Default::default()
        })
    })
}
