//! Effects: what follows once a batch is committed, and what is taken back when it is not.
//!
//! Order within a batch: attachments and answers first, so that a session's first frame is its
//! answer; then deliveries; then fan-outs.

use super::{
    Shard,
    batch::{Answer, Batch, Due, Outcome},
    edges::{Edge, Gathering},
    mailboxes::{MailboxSlot, Session},
};
use heddle_proto::{
    errors::Fault,
    internal::{
        AttachCommand, CommandResult, Delivery, HeadResult, Kick, command_result::Outcome as Told,
    },
    v1::{Cursor, GoAwayReason},
};
use std::sync::Arc;

impl Shard {
    /// The batch is committed.
    pub(super) fn carry_out(&mut self, batch: Batch) {
        self.measures.returns(&batch);
        drop(batch.spans);
        let mut gathering = Gathering::default();
        for answer in batch.answers {
            self.answer(answer, &mut gathering);
        }
        for (user, device_id) in &batch.revoked {
            self.kick_device(user, device_id, GoAwayReason::Revoked, &mut gathering);
        }
        for due in batch.due {
            self.deliver(due, &mut gathering);
        }
        gathering.send();
        for (log, told) in batch.told {
            self.fan_out_in_turn(log, told);
        }
        for (log, sender, ephemeral) in batch.ephemerals {
            self.fan_out_ephemeral(log, &sender, ephemeral);
        }
        self.acknowledge(batch.pieces);
        self.send_intents(batch.intents);
    }

    fn answer(&mut self, answer: Answer, gathering: &mut Gathering) {
        let Answer { edge, id, outcome } = answer;
        let outcome = match outcome {
            Outcome::Ready(outcome) => outcome,
            Outcome::Head(user, token) => Told::Head(self.head_result(&user, token.as_ref())),
            Outcome::Attach(user, attach) => {
                let (device_id, attach) = *attach;
                let result = self.head_result(&user, attach.resume.as_ref());
                let session = Session {
                    edge: edge.clone(),
                    session_id: attach.session_id,
                    device_id,
                    foreground: attach.foreground,
                    client: (attach.client_incarnation, attach.client_attempt),
                };
                self.attached(&user, session, &attach, gathering);
                Told::Head(result)
            }
        };
        if id > 0 {
            gathering.result(
                &edge,
                CommandResult {
                    id,
                    outcome: Some(outcome),
                },
            );
        }
    }

    /// Answers a command that has nothing to say, once the batch is committed.
    pub(super) fn done(&mut self, edge: &Arc<Edge>, id: u64) {
        if id > 0 {
            let outcome = Outcome::Ready(Told::Done(Default::default()));
            self.batch.answer(edge, id, outcome);
        }
    }

    fn head_result(&self, user: &Arc<str>, token: Option<&Cursor>) -> HeadResult {
        let Some(MailboxSlot::Ready(live)) = self.mailboxes.get(user) else {
            return HeadResult::default();
        };
        let head = Some(live.mailbox.cursor(self.nonce()));
        HeadResult {
            head,
            outcome: live.mailbox.judge(token) as i32,
        }
    }

    /// The session hears of what comes from now on; another session of its device ends, or it ends
    /// itself where that other one is newer.
    fn attached(
        &mut self,
        user: &Arc<str>,
        session: Session,
        attach: &AttachCommand,
        gathering: &mut Gathering,
    ) {
        if session.edge.is_closed() {
            return;
        }
        let of_user = self.sessions.entry(user.clone()).or_default();
        let same = |held: &Session| {
            held.edge.id == session.edge.id && held.session_id == attach.session_id
        };
        of_user.sessions.retain(|held| !same(held));
        if of_user
            .sessions
            .iter()
            .any(|held| held.is_newer_than(&session))
        {
            // It was on its way when its client opened the newer one.
            let session_ids = vec![attach.session_id];
            let reason = GoAwayReason::Replaced as i32;
            return gathering.kick(
                &session.edge,
                Kick {
                    session_ids,
                    reason,
                },
            );
        }
        if !session.device_id.is_empty() {
            self.kick_device(user, &session.device_id, GoAwayReason::Replaced, gathering);
        }
        self.sessions
            .entry(user.clone())
            .or_default()
            .sessions
            .push(session);
    }

    fn kick_device(
        &mut self,
        user: &Arc<str>,
        device_id: &str,
        reason: GoAwayReason,
        gathering: &mut Gathering,
    ) {
        let Some(of_user) = self.sessions.get_mut(user) else {
            return;
        };
        of_user.sessions.retain(|held| {
            let kicked = held.device_id == device_id;
            if kicked {
                let session_ids = vec![held.session_id];
                gathering.kick(
                    &held.edge,
                    Kick {
                        session_ids,
                        reason: reason as i32,
                    },
                );
            }
            !kicked
        });
    }

    /// An entry is committed: the user's sessions hear of it.
    fn deliver(&mut self, due: Due, gathering: &mut Gathering) {
        let Due {
            user,
            entry,
            mut body,
            conversation_id,
            which,
            time_ms,
            trace_parent,
        } = due;
        if let Some(MailboxSlot::Ready(live)) = self.mailboxes.get_mut(&user) {
            live.mailbox.commit(entry.position);
        }
        let Some(of_user) = self.sessions.get(&user) else {
            return;
        };
        if let Some(blank) = self.erasures.blanked(&conversation_id, which, &body) {
            body = blank;
        }
        let nonce = self.nonce();
        for session in &of_user.sessions {
            let delivery = Delivery {
                session_ids: vec![session.session_id],
                position: entry.position,
                nonce,
                previous_seq: entry.previous_seq,
                body: 0,
                state: conversation_id.is_empty(),
                conversation_id: conversation_id.clone(),
                markable_seq: entry.markable_seq,
                time_ms: self.measures.timed(time_ms),
                trace_parent: trace_parent.clone(),
                erased_seq: entry.erased_seq,
            };
            gathering.delivery(&session.edge, delivery, &body);
        }
    }

    /// The batch under way was not committed: those who wait are told, and what was accepted since
    /// is dropped, since it builds on it. Fan-outs are kept: they are idempotent and come
    /// again.
    pub(super) fn roll_back(&mut self, fault: Fault) {
        let failed = self.in_flight.take();
        let since = std::mem::take(&mut self.batch);
        let mut gathering = Gathering::default();
        for batch in failed.into_iter().chain([since]) {
            for log in batch.log_ids().chain(batch.told.keys()) {
                self.drop_conversation(log, &fault);
            }
            for due in &batch.due {
                self.mailboxes.remove(&due.user);
            }
            for Answer { edge, id, .. } in batch.answers {
                if id > 0 {
                    let outcome = Some(Told::Error(fault.to_wire()));
                    gathering.result(&edge, CommandResult { id, outcome });
                }
            }
            self.held.extend(batch.pieces);
            for intent in batch.intents {
                self.not_pushed(intent.id);
            }
        }
        gathering.send();
    }
}
