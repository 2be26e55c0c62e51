//! Mailboxes in a shard: what conversations send becomes entries in the batch.
//!
//! Sessions are kept beside the mailboxes, so that they outlive a mailbox that is dropped and
//! loaded again.

use super::{
    Shard,
    batch::{Due, Piece},
    edges::Edge,
};
use crate::mailbox::{Mailbox, Taken, hole};
use bytes::Bytes;
use heddle_proto::internal::{
    Command, FanOut, FanOutEvent, MailboxCheckpoint, MailboxEntry, NoteRow, Recipient, StateVersion,
};
use std::sync::Arc;

/// A mailbox in memory, or on its way there.
pub(super) enum MailboxSlot {
    /// Being read from the store.
    Loading(Box<LoadingMailbox>),
    /// Loaded.
    Ready(Box<LiveMailbox>),
}

/// What has come of a mailbox so far, and who waits for it.
#[derive(Default)]
pub(super) struct LoadingMailbox {
    pub parts_left: u32,
    pub checkpoint: Option<MailboxCheckpoint>,
    pub devices: Vec<(String, crate::mailbox::push::Device)>,
    pub user: Option<heddle_proto::internal::UserRow>,
    pub notices: heddle_proto::internal::NoticesRow,
    pub entries: Vec<(MailboxEntry, u64)>,
    pub waiting: Vec<Waiting>,
}

/// A mailbox, and what is under way for it.
pub(super) struct LiveMailbox {
    pub mailbox: Mailbox,
    pub noted_window: u64,
    /// When its pushes are looked at next, in milliseconds since the Unix epoch; 0: not yet needed.
    pub push_due_ms: u64,
    /// Devices are owed a push, or that one is taken back.
    pub owes: bool,
    pub used_ms: u64,
}

/// What waits for a log to be loaded, or for a read.
pub(super) enum Waiting {
    /// A command of a gateway.
    Command(Arc<Edge>, Box<Command>),
    /// One recipient of a fan-out.
    Piece(Piece),
}

/// A session attached to a mailbox.
pub(super) struct Session {
    pub edge: Arc<Edge>,
    pub session_id: u64,
    pub device_id: String,
    pub foreground: bool,
    /// Which running client it is of (0: unknown), and which of that client's sessions.
    pub client: (u64, u64),
}

impl Session {
    /// Whether `other` is an older session of the same running client, that came late.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        let (incarnation, attempt) = self.client;
        self.device_id == other.device_id
            && incarnation != 0
            && incarnation == other.client.0
            && attempt > other.client.1
    }
}

/// The sessions of one user, and the heads they were told.
#[derive(Default)]
pub(super) struct SessionsOf {
    pub sessions: Vec<Session>,
    /// Head at the last heartbeat and at the one before.
    pub told: [u64; 2],
}

impl Shard {
    /// Applies a fan-out to one of its recipients.
    pub(super) fn apply_piece(&mut self, piece: Piece) {
        if is_over(&piece) {
            return self.batch.pieces.push(piece);
        }
        let user_id = piece_user(&piece).to_owned();
        match self.mailboxes.get_mut(user_id.as_str()) {
            Some(MailboxSlot::Ready(_)) => self.apply_to_ready(piece, &user_id),
            Some(MailboxSlot::Loading(loading)) => {
                if loading.waiting.len() < self.around.config.waiting_max {
                    loading.waiting.push(Waiting::Piece(piece));
                } else {
                    self.held.push(piece);
                }
            }
            None => self.load_mailbox(user_id.into(), vec![Waiting::Piece(piece)]),
        }
    }

    fn apply_to_ready(&mut self, piece: Piece, user_id: &str) {
        let (job, index) = (&piece.0, piece.1 as usize);
        let fan_out = &job.fan_out;
        if let Some(recipient) = fan_out.recipients.get(index) {
            for event in &fan_out.events {
                if self.lacks_room() {
                    return self.held.push(piece);
                }
                let taken = self.take_event(user_id, fan_out, event, recipient);
                if let Some(from_seq) = taken {
                    return self.fill_hole(user_id, from_seq, event.seq - 1, piece);
                }
            }
        } else if let Some(state) = fan_out.states.get(index - fan_out.recipients.len()) {
            let version = StateVersion {
                shard: fan_out.from_shard,
                epoch: fan_out.from_epoch,
                id: fan_out.id,
                place: piece.1 + 1,
            };
            let told = Some((fan_out.conversation_id.as_ref(), version));
            self.take_state(user_id, &state.state, told);
        }
        self.batch.pieces.push(piece);
    }

    /// Takes one event in; answers with the first missing seq if there is a hole before it.
    pub(super) fn take_event(
        &mut self,
        user_id: &str,
        fan_out: &FanOut,
        event: &FanOutEvent,
        recipient: &Recipient,
    ) -> Option<u64> {
        let (nonce, now_ms) = (self.nonce(), self.now_ms());
        let (key, slot) = self.mailboxes.get_key_value(user_id)?;
        let MailboxSlot::Ready(_) = slot else {
            return None;
        };
        let key = key.clone();
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user_id) else {
            return None;
        };
        live.used_ms = now_ms;
        match live
            .mailbox
            .take_event(fan_out, event, recipient, nonce, now_ms)
        {
            Taken::Not => None,
            Taken::Hole(from_seq) => Some(from_seq),
            Taken::Entry(entry) => {
                let trace_parent = self.trace_entry(&event.trace_parent, entry.position);
                self.entry(Due {
                    user: key,
                    entry,
                    body: event.event.clone(),
                    conversation_id: fan_out.conversation_id.clone(),
                    which: (event.kind(), event.seq),
                    time_ms: event.time_ms,
                    trace_parent,
                });
                None
            }
        }
    }

    /// Takes a change of state in: one that a conversation told, or one of the mailbox's own.
    pub(super) fn take_state(
        &mut self,
        user_id: &str,
        state: &Bytes,
        told: Option<(&[u8], StateVersion)>,
    ) {
        let (nonce, now_ms) = (self.nonce(), self.now_ms());
        let Some((key, _)) = self.mailboxes.get_key_value(user_id) else {
            return;
        };
        let key = key.clone();
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user_id) else {
            return;
        };
        live.used_ms = now_ms;
        let mailbox = &mut live.mailbox;
        let entry = match told {
            Some((conversation, version)) => {
                mailbox.take_told_state(conversation, version, state, nonce, now_ms)
            }
            None => Some(mailbox.take_state(state, None, nonce, now_ms)),
        };
        let Some(entry) = entry else {
            return tracing::debug!(user_id, "a change of state came late");
        };
        self.entry(Due {
            user: key,
            entry,
            body: state.clone(),
            conversation_id: Bytes::new(),
            which: Default::default(),
            time_ms: 0,
            trace_parent: String::new(),
        });
    }

    /// Puts an accepted entry into the batch.
    fn entry(&mut self, due: Due) {
        let (user, entry) = (&due.user, &due.entry);
        let now_ms = self.now_ms();
        let window = now_ms / u64::from(self.around.config.note_window_ms.max(1));
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(user) else {
            return;
        };
        let mailbox = &mut live.mailbox;
        self.batch
            .event(&mailbox.id, entry.position, entry.bytes.clone());
        if mailbox.wants_checkpoint() {
            self.batch.cells([mailbox.checkpoint()]);
        }
        live.owes = mailbox.owes(now_ms);
        if live.owes {
            let note = (live.noted_window != window).then(|| NoteRow {
                log_id: mailbox.id.to_bytes(),
                from_seq: mailbox.pushes.position(mailbox.head()) + 1,
                mailbox: true,
                user_id: mailbox.user_id.clone(),
            });
            live.noted_window = window;
            if let Some(row) = note {
                self.write_note(window, &row);
            }
            self.schedule_push(user);
        }
        self.batch.due.push(due);
    }

    /// A session ends, or has moved away.
    pub(super) fn detach(&mut self, edge_id: u64, user_id: &str, session_id: u64, device_id: &str) {
        if let Some(of_user) = self.sessions.get_mut(user_id) {
            of_user
                .sessions
                .retain(|held| held.edge.id != edge_id || held.session_id != session_id);
            if of_user.sessions.is_empty() {
                self.sessions.remove(user_id);
            }
        }
        tracing::trace!(user_id, device_id, session_id, "detached");
    }

    pub(super) fn set_foreground(
        &mut self,
        edge_id: u64,
        user_id: &str,
        change: &heddle_proto::internal::ForegroundCommand,
    ) {
        let sessions = self
            .sessions
            .get_mut(user_id)
            .map(|of_user| &mut of_user.sessions);
        for session in sessions.into_iter().flatten() {
            if session.edge.id == edge_id && session.session_id == change.session_id {
                session.foreground = change.foreground;
            }
        }
    }

    /// A gateway is gone, with its sessions.
    pub(super) fn forget_edge(&mut self, edge_id: u64) {
        self.sessions.retain(|_, of_user| {
            of_user
                .sessions
                .retain(|session| session.edge.id != edge_id);
            !of_user.sessions.is_empty()
        });
    }

    pub(super) fn drop_loading_mailbox(&mut self, user: &Arc<str>) -> Vec<Waiting> {
        match self.mailboxes.remove(user) {
            Some(MailboxSlot::Loading(loading)) => loading.waiting,
            Some(ready) => {
                self.mailboxes.insert(user.clone(), ready);
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}

/// Whether a piece is for somebody whose membership ended before all of it: nothing of it is due.
fn is_over(piece: &Piece) -> bool {
    let fan_out = &piece.0.fan_out;
    let member = fan_out.recipients.get(piece.1 as usize);
    let first = fan_out.events.first();
    member
        .zip(first)
        .is_some_and(|(member, first)| hole::is_over(member, first.seq))
}

/// Whom a piece is for.
pub(super) fn piece_user(piece: &Piece) -> &str {
    let fan_out = &piece.0.fan_out;
    let index = piece.1 as usize;
    match fan_out.recipients.get(index) {
        Some(recipient) => &recipient.user_id,
        None => &fan_out.states[index - fan_out.recipients.len()].user_id,
    }
}
