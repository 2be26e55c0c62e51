//! What a device of the mixed workload does: says, edits, erases, reacts, marks, hides, leaves.
//!
//! Invariant: what is asked is recorded before it is asked.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use heddle_proto::v1;
use heddle_proto::v1::open_session_request::Frame;
use heddle_sdk::{Outgoing, WhenFull, text};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::actor::{Actor, Pending, Seen};
use super::errand::{self, Errand};
use super::observe;
use crate::checker::{BODY_ERASED, Kind, Outcome, Send, body_hash};

/// Reactions that people give.
const REACTIONS: [&str; 3] = ["+1", "heart", "tada"];

impl Actor {
    pub(super) async fn say(&mut self) {
        let Some(group) = self.any_group() else {
            return;
        };
        self.said += 1;
        let words = format!(
            "{} says {} {}",
            self.device,
            self.said,
            "x".repeat(self.said as usize % 90)
        );
        let outgoing = Outgoing {
            conversation_id: self.shared.groups[group].id,
            client_message_id: self.client.mint(),
            message: text(words.clone()),
        };
        let send = self.record(
            group,
            Kind::Message,
            0,
            body_hash(words.as_bytes()),
            u128::from_be_bytes(*outgoing.client_message_id.as_bytes()),
        );
        let record = self.shared.recorder.lock().send(send);
        self.shared.outstanding.fetch_add(1, Ordering::Relaxed);
        self.pending.push_back(Pending {
            id: outgoing.client_message_id,
            record,
            lost: false,
        });
        if let Some(session) = &self.session {
            // Only a session that has ended refuses it: the outbox is larger than what a device has
            // pending. The next one finds it in the store.
            let _ = session.post(outgoing, WhenFull::Fail).await;
        }
    }

    pub(super) fn change(
        &mut self,
        own: bool,
        make: impl FnOnce(u64, Bytes, Bytes, &mut StdRng) -> (Frame, Kind, u64),
    ) {
        let fitting: Vec<&Seen> = self.seen.iter().filter(|seen| seen.mine || !own).collect();
        let Some(&&Seen { group, seq, .. }) = fitting.choose(&mut self.chance) else {
            return;
        };
        let minted = self.client.mint();
        let conversation = self.shared.groups[group].id.to_bytes();
        let (frame, kind, body) = make(seq, minted.to_bytes(), conversation, &mut self.chance);
        let id = u128::from_be_bytes(*minted.as_bytes());
        let send = self.record(group, kind, seq, body, id);
        self.go(group, Errand::Change(frame, send));
    }

    pub(super) fn mark(&mut self) {
        let seen: Vec<&Seen> = self.seen.iter().collect();
        if let Some(&&Seen { group, seq, .. }) = seen.choose(&mut self.chance) {
            let mark = v1::MarkRequest {
                conversation_id: self.shared.groups[group].id.to_bytes(),
                read_seq: seq,
            };
            self.go(group, Errand::Mark(Frame::Mark(mark)));
        }
    }

    pub(super) fn hide(&mut self) {
        let seen: Vec<&Seen> = self.seen.iter().collect();
        if let Some(&&Seen { group, seq, .. }) = seen.choose(&mut self.chance) {
            let hide = v1::HideMessagesRequest {
                conversation_id: self.shared.groups[group].id.to_bytes(),
                seqs: vec![seq],
            };
            self.go(group, Errand::Hide(Frame::Hide(hide), group as u32, seq));
        }
    }

    pub(super) fn rejoin(&mut self) {
        let Some(group) = self.any_group() else {
            return;
        };
        if self.shared.groups[group].members[0] != self.user {
            let id = self.shared.groups[group].id;
            self.go(group, Errand::Rejoin(id));
        }
    }

    fn go(&mut self, group: usize, errand: Errand) {
        if let Some(session) = &self.session {
            let (shared, handle) = (self.shared.clone(), session.handle());
            self.errands
                .spawn(errand::run(shared, self.user, group, handle, errand));
        }
    }

    fn any_group(&mut self) -> Option<usize> {
        let mine = |group: &usize| self.shared.groups[*group].members.contains(&self.user);
        let mine: Vec<usize> = (0..self.shared.groups.len()).filter(mine).collect();
        mine.choose(&mut self.chance).copied()
    }

    fn record(&self, group: usize, kind: Kind, target: u64, body: u64, id: u128) -> Send {
        Send {
            device: self.device,
            conversation: group as u32,
            kind,
            target,
            body,
            id,
            invoked_us: self.shared.now_us(),
            answered_us: 0,
            outcome: Outcome::Unknown,
        }
    }
}

pub(super) fn edit(
    seq: u64,
    id: Bytes,
    conversation_id: Bytes,
    chance: &mut StdRng,
) -> (Frame, Kind, u64) {
    let words = text(format!("edited {}", chance.random::<u64>()));
    let body = observe::body(Some(&words));
    let edit = v1::EditMessageRequest {
        conversation_id,
        client_message_id: id,
        target_seq: seq,
        message: Some(words),
    };
    (Frame::Edit(edit), Kind::Edit, body)
}

pub(super) fn erase(
    seq: u64,
    id: Bytes,
    conversation_id: Bytes,
    _: &mut StdRng,
) -> (Frame, Kind, u64) {
    let erase = v1::EraseMessageRequest {
        conversation_id,
        client_message_id: id,
        target_seq: seq,
    };
    (Frame::Erase(erase), Kind::Erase, BODY_ERASED)
}

pub(super) fn react(
    seq: u64,
    id: Bytes,
    conversation_id: Bytes,
    chance: &mut StdRng,
) -> (Frame, Kind, u64) {
    let key = REACTIONS.choose(chance).copied().unwrap_or_default();
    let remove = chance.random_bool(0.3);
    let react = v1::ReactRequest {
        conversation_id,
        client_message_id: id,
        target_seq: seq,
        key: key.to_owned(),
        remove,
    };
    let kind = if remove { Kind::Unreact } else { Kind::React };
    (Frame::React(react), kind, body_hash(key.as_bytes()))
}
