//! Events: a page of the mailbox, for callers that cannot hold a stream.
//!
//! The owner says whether the place still holds and how far the mailbox goes; the store is read up
//! to there.

use super::{Api, Caller};
use crate::{session::catch_up, validate::At};
use heddle_proto::{
    errors::Fault,
    internal::{
        HeadCommand, HeadResult, MailboxQuery, RawListEventsResponse, RawOpenSessionResponse,
        command::Op, command_result::Outcome, read::Query,
    },
    v1::{self, Cursor, ErrorReason, ResumeOutcome},
};

const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;

impl Api {
    /// Events after a position.
    pub(super) async fn events(
        &self,
        caller: &Caller,
        request: v1::ListEventsRequest,
    ) -> Result<RawListEventsResponse, Fault> {
        let page = At::CALL.page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX)?;
        if let Some(after) = &request.after {
            At::CALL.seq_or_none("after.position", after.position)?;
        }
        let head = self.mailbox_head(caller, request.after).await?;
        let mut next = request.after.unwrap_or_default();
        let query = MailboxQuery {
            log_id: caller.mailbox().to_bytes(),
            after_position: next.position,
            head: head.position,
            entries_max: page,
            ..Default::default()
        };
        if next.position >= head.position {
            return Ok(RawListEventsResponse {
                next: Some(next),
                ..Default::default()
            });
        }
        let read = self.edge.store.read(Query::Mailbox(query)).await?;
        let mut deliveries = Vec::with_capacity(read.deliveries.len());
        for entry in &read.deliveries {
            let (offer, body) = catch_up::entry_offer(caller.user_id(), entry);
            let frame = catch_up::frame(&offer, next.position, entry.previous_seq, body);
            deliveries.push(RawOpenSessionResponse { frame: Some(frame) });
            next = offer.cursor;
        }
        let more = !deliveries.is_empty() && next.position < head.position;
        Ok(RawListEventsResponse {
            deliveries,
            next: Some(next),
            more,
        })
    }

    async fn mailbox_head(&self, caller: &Caller, after: Option<Cursor>) -> Result<Cursor, Fault> {
        let head = Op::Head(HeadCommand { after });
        let Outcome::Head(HeadResult { head, outcome }) =
            self.ask(caller, caller.mailbox(), head).await?
        else {
            return Err(crate::answers::unexpected());
        };
        if after.is_some() && outcome == i32::from(ResumeOutcome::Reset) {
            let text = "the position is lost; load a snapshot with ListConversations and go on \
                        from its position";
            let fault = Fault::new(ErrorReason::PositionLost, text);
            return Err(Fault {
                field: "after".into(),
                ..fault
            });
        }
        Ok(head.unwrap_or_default())
    }
}
