//! Fan-out between shards: from a committed batch of a conversation to the mailboxes' shards.
//!
//! Shards of one node pass each other the same messages that nodes pass over the wire, through
//! bounded queues; what does not fit waits here, and while much waits no more commands are taken.

use super::{
    Shard,
    batch::{Job, Piece, Told},
    conversations::ConversationSlot,
    input::{PeerInput, Reply},
    origins::Admission,
    outbound::{REFUSED_MS, Sent},
};
use heddle_proto::{
    ids::LogId,
    internal::{
        Ephemeral, EphemeralCommand, FanOut, FanOutAck, Recipient, ephemeral, ephemeral_command,
    },
};
use std::{collections::BTreeMap, sync::Arc};

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
        let (now_ms, from_epoch) = (self.now_ms(), self.ownership.map_or(0, |own| own.since));
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
            for (shard, reader) in roster.former_readers(&events, shard_count) {
                parts.entry(shard).or_default().recipients.push(reader);
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
            part.direct = live.conversation.is_direct();
            if !part.recipients.is_empty() {
                part.events.clone_from(&events);
            }
            part.from_epoch = from_epoch;
            part.restart = self.outbound.is_idle(shard);
            live.open.sent_one(range);
            let fan_out = Arc::new(part);
            let sent = Sent {
                fan_out: fan_out.clone(),
                log,
                range,
            };
            self.outbound.put(shard, sent, now_ms);
            if !self.outbound.is_stalled(shard) {
                self.unsent
                    .push_back((shard, PeerInput::FanOut(fan_out, Reply::Here)));
            }
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
            part.to_shard = shard;
            part.ephemeral = Some(what.clone());
            self.unsent
                .push_back((shard, PeerInput::FanOut(Arc::new(part), Reply::Here)));
        }
    }

    pub(super) fn on_peer(&mut self, input: PeerInput) {
        self.turn_ms = self.around.clock.now_ms();
        match input {
            PeerInput::FanOut(fan_out, _) if fan_out.ephemeral.is_some() => {
                self.deliver_now(&fan_out);
            }
            PeerInput::FanOut(fan_out, reply) => self.take_fan_out(fan_out, reply),
            PeerInput::Mark(mark) => self.take_mark(mark),
            PeerInput::Acks(acks) => {
                for ack in acks {
                    self.fan_out_settled(&ack);
                }
            }
        }
    }

    fn take_fan_out(&mut self, fan_out: Arc<FanOut>, reply: Reply) {
        let admission = match self.belongs_here() {
            true => self.origins.admit(&fan_out),
            false => Admission::Refused,
        };
        match admission {
            Admission::Stale => {}
            Admission::Refused => {
                let refused = FanOutAck {
                    to_shard: fan_out.from_shard,
                    from_shard: self.index,
                    id: fan_out.id,
                    refused: true,
                    ..Default::default()
                };
                self.reply(&reply, vec![refused]);
            }
            Admission::Taken => {
                self.note_erased(&fan_out.conversation_id, &fan_out.events);
                self.tell_former_readers(&fan_out);
                self.arrivals += 1;
                let job = Job::new(fan_out, reply, self.arrivals);
                let count = job.fan_out.recipients.len() + job.fan_out.states.len();
                for index in 0..count as u32 {
                    self.apply_or_hold((job.clone(), index));
                }
            }
        }
    }

    fn fan_out_settled(&mut self, ack: &FanOutAck) {
        let now_ms = self.now_ms();
        if ack.refused {
            let at_ms = now_ms + REFUSED_MS;
            return self.outbound.stall(ack.from_shard, ack.id, at_ms);
        }
        let settled = self.outbound.acknowledge(ack.from_shard, ack.id, now_ms);
        let Some(Sent { log, range, .. }) = settled else {
            return;
        };
        if let Some(ConversationSlot::Ready(live)) = self.conversations.get_mut(&log) {
            live.open.done_one(range);
        }
    }

    /// Typing and signals go to sessions in the foreground and are forgotten.
    fn deliver_now(&mut self, fan_out: &FanOut) {
        let kind = match fan_out.ephemeral.clone().and_then(|what| what.kind) {
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
        let mut here: BTreeMap<u32, Vec<FanOutAck>> = BTreeMap::new();
        for (job, _) in pieces {
            if !job.done_one() {
                continue;
            }
            let ack = FanOutAck {
                to_shard: job.fan_out.from_shard,
                from_shard: self.index,
                id: job.fan_out.id,
                stuck: job.stuck.load(std::sync::atomic::Ordering::Acquire),
                refused: false,
            };
            match &job.reply {
                Reply::Here => here.entry(ack.to_shard).or_default().push(ack),
                there @ Reply::There(_) => self.reply(there, vec![ack]),
            }
        }
        for (shard, acks) in here {
            self.unsent.push_back((shard, PeerInput::Acks(acks)));
        }
    }

    fn reply(&mut self, reply: &Reply, acks: Vec<FanOutAck>) {
        match reply {
            Reply::Here => {
                let Some(shard) = acks.first().map(|ack| ack.to_shard) else {
                    return;
                };
                self.unsent.push_back((shard, PeerInput::Acks(acks)));
            }
            // Not heard means sent again.
            Reply::There(outbox) => drop(outbox.try_send_all(acks)),
        }
    }
}
