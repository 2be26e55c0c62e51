//! Fan-out between shards: from a committed batch of a conversation to the mailboxes' shards.
//!
//! Shards of one node pass each other the same messages that nodes pass over the wire, through
//! bounded queues; what does not fit waits here, and while much waits no more commands are taken.

use super::{
    Shard,
    batch::{Job, Piece, Told},
    conversations::ConversationSlot,
    input::PeerInput,
};
use heddle_proto::{
    ids::LogId,
    internal::{
        Ephemeral, EphemeralCommand, FanOut, FanOutAck, Recipient, ephemeral, ephemeral_command,
    },
};
use std::collections::BTreeMap;
use tokio::sync::mpsc::error::TrySendError;

impl Shard {
    /// Sends what a batch tells, or keeps it until the log has been fanned out again: a newer
    /// membership must not reach a mailbox before the end of an older one.
    pub(super) fn fan_out_in_turn(&mut self, log: LogId, told: Told) {
        self.note_erased(log.as_bytes(), &told.events);
        let slot = self.conversations.get_mut(&log);
        if let Some(ConversationSlot::Ready(live)) = slot
            && let Some(held) = &mut live.held
        {
            return held.push(told);
        }
        self.fan_out(log, told, true);
    }

    /// Sends what a conversation tells to the shards of its recipients; a range closes with it.
    pub(super) fn fan_out(&mut self, log: LogId, mut told: Told, last_of_range: bool) {
        self.blank_erased(log.as_bytes(), &mut told.events);
        let shard_count = self.around.peers.len() as u32;
        let Some(ConversationSlot::Ready(live)) = self.conversations.get_mut(&log) else {
            return;
        };
        let mut parts: BTreeMap<u32, FanOut> = BTreeMap::new();
        let Told {
            events,
            states,
            range,
        } = told;
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            let roster = &live.conversation.roster;
            for (shard, recipient) in roster.recipients(first.seq, last.seq, shard_count) {
                parts.entry(shard).or_default().recipients.push(recipient);
            }
        }
        for state in states {
            let shard = LogId::mailbox(&state.user_id).shard(shard_count);
            parts.entry(shard).or_default().states.push(state);
        }
        for (shard, mut part) in parts {
            self.next_id += 1;
            part.id = self.next_id;
            part.from_shard = self.index;
            part.to_shard = shard;
            part.conversation_id = log.to_bytes();
            if !part.recipients.is_empty() {
                part.events.clone_from(&events);
            }
            live.open.sent_one(range);
            self.outstanding.insert(part.id, (log, range));
            self.unsent
                .push_back((shard, PeerInput::FanOut(Box::new(part))));
        }
        if last_of_range {
            live.open.close(range);
        }
    }

    /// Sends typing or a signal to the shards of those it is for.
    pub(super) fn fan_out_ephemeral(&mut self, log: LogId, sender: &str, what: EphemeralCommand) {
        let shard_count = self.around.peers.len() as u32;
        let Some(ConversationSlot::Ready(live)) = self.conversations.get(&log) else {
            return;
        };
        let mut parts: BTreeMap<u32, FanOut> = BTreeMap::new();
        for (member, mailbox) in live.conversation.roster.members() {
            let named = what.user_ids.is_empty() || what.user_ids.contains(&member.user_id);
            if named && member.user_id != sender {
                let user_id = member.user_id.clone();
                let recipient = Recipient {
                    user_id,
                    ..Default::default()
                };
                let part = parts.entry(mailbox.shard(shard_count)).or_default();
                part.recipients.push(recipient);
            }
        }
        for (shard, mut part) in parts {
            part.ephemeral = Some(what.clone());
            self.unsent
                .push_back((shard, PeerInput::FanOut(Box::new(part))));
        }
    }

    /// Passes on what waits for other shards, as far as their queues have room.
    pub(super) fn send_unsent(&mut self) {
        for _ in 0..self.unsent.len() {
            let Some((shard, input)) = self.unsent.pop_front() else {
                break;
            };
            let Some(peer) = self.around.peers.get(shard as usize) else {
                continue;
            };
            if let Err(TrySendError::Full(input)) = peer.try_send(input) {
                self.unsent.push_front((shard, input));
                break;
            }
        }
    }

    pub(super) fn on_peer(&mut self, input: PeerInput) {
        self.turn_ms = self.around.clock.now_ms();
        match input {
            PeerInput::FanOut(fan_out) if fan_out.ephemeral.is_some() => self.deliver_now(*fan_out),
            PeerInput::FanOut(fan_out) => {
                self.note_erasures(&fan_out);
                self.arrivals += 1;
                let job = Job::new(*fan_out, self.arrivals);
                let count = job.fan_out.recipients.len() + job.fan_out.states.len();
                for index in 0..count as u32 {
                    self.apply_or_hold((job.clone(), index));
                }
            }
            PeerInput::Command(edge, command) => self.on_command(&edge, *command),
            PeerInput::Acks(acks) => {
                for ack in acks {
                    self.fan_out_stored(&ack);
                }
            }
        }
    }

    fn fan_out_stored(&mut self, ack: &FanOutAck) {
        let Some((log, range)) = self.outstanding.remove(&ack.id) else {
            return;
        };
        if let Some(ConversationSlot::Ready(live)) = self.conversations.get_mut(&log) {
            live.open.done_one(range);
        }
    }

    /// Typing and signals go to sessions in the foreground and are forgotten.
    fn deliver_now(&mut self, fan_out: FanOut) {
        let kind = match fan_out.ephemeral.and_then(|ephemeral| ephemeral.kind) {
            Some(ephemeral_command::Kind::Typing(typing)) => ephemeral::Kind::Typing(typing),
            Some(ephemeral_command::Kind::Signal(signal)) => ephemeral::Kind::Signal(signal),
            None => return,
        };
        let mut gathering = super::edges::Gathering::default();
        for recipient in &fan_out.recipients {
            let Some(of_user) = self.sessions.get(recipient.user_id.as_str()) else {
                continue;
            };
            for session in of_user.sessions.iter().filter(|session| session.foreground) {
                let session_ids = vec![session.session_id];
                let ephemeral = Ephemeral {
                    session_ids,
                    kind: Some(kind.clone()),
                };
                gathering.ephemeral(&session.edge, ephemeral);
            }
        }
        gathering.send();
    }

    /// Pieces of fan-outs are stored: tells their senders where a whole one is.
    pub(super) fn acknowledge(&mut self, pieces: Vec<Piece>) {
        let mut acks: BTreeMap<u32, Vec<FanOutAck>> = BTreeMap::new();
        for (job, _) in pieces {
            if job.done_one() {
                let stuck = job.stuck.load(std::sync::atomic::Ordering::Acquire);
                let (to_shard, id) = (job.fan_out.from_shard, job.fan_out.id);
                acks.entry(to_shard).or_default().push(FanOutAck {
                    to_shard,
                    id,
                    stuck,
                });
            }
        }
        for (shard, acks) in acks {
            self.unsent.push_back((shard, PeerInput::Acks(acks)));
        }
    }
}
