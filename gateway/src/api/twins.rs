//! Twins: the unary form of each frame of a session.
//!
//! What names a conversation goes to its owner like the frame does; what names a session acts on
//! that session, which must be the caller's and open on this gateway.
//!
//! Invariant: a twin and its frame are judged by the same code and answered with the same message.

use super::{Api, Caller};
use crate::{
    answers::{self, Kind},
    commands::Ask,
    session::{Session, frames},
    validate::At,
};
use heddle_proto::{
    errors::Fault,
    internal::{AckCommand, MailboxQuery, MarkCommand, command::Op, command_result, read::Query},
    v1::{self, ErrorReason, result::Outcome},
};
use std::sync::Arc;

/// Reads of the mailbox that one acknowledgement without a session may cost.
const ACK_READS_MAX: usize = 10;

impl Api {
    /// Asks an owner what a frame of this kind asks.
    pub(super) async fn twin(
        &self,
        caller: &Caller,
        kind: Kind,
        ask: Ask,
    ) -> Result<Outcome, Fault> {
        answers::outcome(kind, self.ask(caller, ask.log, ask.op).await?)
    }

    /// The caller's session with this name, which shows by this call that it lives.
    pub(super) fn session(&self, caller: &Caller, name: &str) -> Result<Arc<Session>, Fault> {
        let found = self.edge.sessions.named(name, caller.user_id());
        let session = found.ok_or_else(|| {
            let text = "the session is not open on this gateway; open a new one";
            let fault = Fault::new(ErrorReason::SessionGone, text);
            Fault {
                field: "session_id".into(),
                ..fault
            }
        })?;
        session.heard(self.edge.clock.now_ms());
        Ok(session)
    }

    /// Acknowledges for a session, or else for a device.
    pub(super) async fn acknowledge(
        &self,
        caller: &Caller,
        request: v1::AckRequest,
    ) -> Result<(), Fault> {
        At::CALL.seq_or_none("position", request.position)?;
        if !request.session_id.is_empty() {
            let session = self.session(caller, &request.session_id)?;
            return session.take_ack(&self.edge, At::CALL, request.position);
        }
        At::CALL.name("device_id", &request.device_id)?;
        let device_id = caller.identity.device_named(request.device_id)?;
        let standing = &self.edge.standing;
        standing
            .check(&self.edge, &caller.identity, &device_id)
            .await?;
        let device = Caller {
            identity: caller.identity.clone(),
            device_id,
        };
        let ack = Op::Ack(AckCommand {
            position: request.position,
            foreground: false,
        });
        match self.ask(&device, caller.mailbox(), ack).await? {
            command_result::Outcome::Ack(ack) => {
                self.mark_delivered(&device, ack.previous_position, request.position)
                    .await
            }
            _ => Err(answers::unexpected()),
        }
    }

    /// What a device without a session acknowledges is delivered, and its senders hear of it.
    async fn mark_delivered(&self, caller: &Caller, from: u64, to: u64) -> Result<(), Fault> {
        let mut after_position = from;
        let mut receipts = crate::session::receipts::Receipts::default();
        for _ in 0..ACK_READS_MAX {
            if after_position >= to {
                break;
            }
            let log_id = caller.mailbox().to_bytes();
            let query = MailboxQuery {
                log_id,
                after_position,
                head: to,
                ..Default::default()
            };
            let read = self.edge.store.read(Query::Mailbox(query)).await?;
            let Some(last) = read.deliveries.last() else {
                break;
            };
            after_position = last.position;
            for entry in &read.deliveries {
                let (offer, _) = crate::session::catch_up::entry_offer(caller.user_id(), entry);
                offer
                    .markable
                    .into_iter()
                    .for_each(|markable| receipts.deliver(markable));
            }
        }
        for markable in receipts.take().delivered {
            let mark = Op::Mark(MarkCommand {
                delivered_seq: markable.seq,
                read_seq: 0,
            });
            // The next acknowledgement covers a lost one.
            let (user, device) = (caller.user_id(), caller.device_id.as_str());
            let _covered = self
                .edge
                .shards
                .hint(markable.conversation, user, device, mark);
        }
        Ok(())
    }

    /// Sets whether a session is in the foreground.
    pub(super) async fn foreground(
        &self,
        caller: &Caller,
        request: v1::SetForegroundRequest,
    ) -> Result<Outcome, Fault> {
        let session = self.session(caller, &request.session_id)?;
        let ask = session.set_foreground(&self.edge, request.foreground);
        self.twin(caller, Kind::Foreground, ask).await
    }

    /// Sets the caller's status.
    pub(super) async fn status(
        &self,
        caller: &Caller,
        request: v1::SetStatusRequest,
    ) -> Result<(), Fault> {
        frames::check_status(At::CALL, &request)?;
        self.edge.presence.set_status(caller.user_id(), request);
        Ok(())
    }
}
