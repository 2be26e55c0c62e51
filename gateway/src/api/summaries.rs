//! Summaries: the conversation list.
//!
//! The owner of the mailbox tells order and counts, the conversations' owners what else there is to
//! see, the store the last messages. All that a page needs is asked for at once.
//!
//! Invariant: the list is what it was at `snapshot_position`; events after it bring it up to date.

use super::{
    Api, Caller, convert,
    page_token::{self, List},
};
use crate::validate::At;
use futures_util::{StreamExt, stream};
use heddle_proto::{
    errors::Fault,
    ids::LogId,
    internal::{
        GrantResult, ListCommand, ListEntryResult, ListPlace, RangeQuery, command::Op,
        command_result::Outcome, read::Query,
    },
    time,
    v1::{
        self, ConversationSettings, ConversationSummary, ErrorReason, ListConversationsRequest,
        ListConversationsResponse, MembershipState,
    },
};
use prost::Message as _;

const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 200;
/// Conversations that are asked about at once.
const ASKED_AT_ONCE: usize = 32;

impl Api {
    pub(super) async fn list(
        &self,
        caller: &Caller,
        request: ListConversationsRequest,
    ) -> Result<ListConversationsResponse, Fault> {
        let entries_max = At::CALL.page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX)?;
        let owner = caller.user_id().as_bytes();
        let place = page_token::decode(List::Conversations, owner, &request.page_token)?;
        let after = place
            .map(|place| ListPlace::decode(place.as_slice()))
            .transpose();
        let after = after.map_err(|_| At::CALL.fault("page_token", "is not of this list"))?;
        let list = Op::List(ListCommand { entries_max, after });
        let Outcome::List(found) = self.ask(caller, caller.mailbox(), list).await? else {
            return Err(crate::answers::unexpected());
        };
        let last = found.entries.last().and_then(|last| last.entry.as_ref());
        let next_page_token = last
            .filter(|_| found.more)
            .map_or_else(String::new, |last| {
                let place = ListPlace {
                    pinned: last.pinned,
                    activity_time_ms: last.activity_time_ms,
                    conversation_id: last.conversation_id.clone(),
                };
                page_token::encode(List::Conversations, owner, &place.encode_to_vec())
            });
        let summaries = found
            .entries
            .into_iter()
            .map(|entry| self.summary(caller, entry));
        let summaries: Vec<_> = stream::iter(summaries)
            .buffered(ASKED_AT_ONCE)
            .collect()
            .await;
        Ok(ListConversationsResponse {
            conversations: summaries.into_iter().collect::<Result<_, _>>()?,
            next_page_token,
            snapshot_position: found.snapshot,
        })
    }

    async fn summary(
        &self,
        caller: &Caller,
        counted: ListEntryResult,
    ) -> Result<ConversationSummary, Fault> {
        let entry = counted.entry.clone().unwrap_or_default();
        let log =
            LogId::from_wire(&entry.conversation_id).ok_or_else(crate::answers::unexpected)?;
        let mut summary = counts(&counted);
        match self
            .grant(caller, log, convert::MARKS_MEMBERS_MAX, String::new())
            .await
        {
            Ok(grant) => {
                summary.conversation = Some(convert::conversation(log, &grant));
                summary.marks = convert::marks(log, &grant);
                let seq = entry.last_message_seq;
                if may_see(&grant, seq) {
                    summary.last_message = self.message(caller, log, seq).await?;
                }
            }
            // Listed and yet gone: the entry stays, with what the mailbox knows.
            Err(fault) if fault.reason == ErrorReason::NotFound => {
                summary.conversation = Some(convert::unknown(entry.conversation_id));
            }
            Err(fault) => return Err(fault),
        }
        Ok(summary)
    }

    async fn message(
        &self,
        caller: &Caller,
        log: LogId,
        seq: u64,
    ) -> Result<Option<v1::Event>, Fault> {
        let query = RangeQuery {
            log_id: log.to_bytes(),
            from_seq: seq,
            to_seq: seq,
            with_overlays: true,
            hidden_for_log_id: caller.mailbox().to_bytes(),
            ..Default::default()
        };
        let read = self.edge.store.read(Query::Range(query)).await?;
        let Some(event) = read.events.into_iter().next() else {
            return Ok(None);
        };
        let damaged = |_| Fault::new(ErrorReason::DataLoss, "a stored event cannot be read");
        v1::Event::decode(event).map(Some).map_err(damaged)
    }
}

fn may_see(grant: &GrantResult, seq: u64) -> bool {
    grant
        .ranges
        .iter()
        .any(|range| range.from_seq <= seq && seq <= range.to_seq)
}

/// What the mailbox itself knows of a conversation.
fn counts(counted: &ListEntryResult) -> ConversationSummary {
    let entry = counted.entry.clone().unwrap_or_default();
    let muted = entry.muted_until_ms > 0;
    ConversationSummary {
        last_seq: entry.last_seq,
        activity_time: Some(time::timestamp(entry.activity_time_ms)),
        unread_count: counted.unread_count,
        unread_mention_count: counted.unread_mention_count,
        read_seq: entry.read_seq,
        settings: Some(ConversationSettings {
            conversation_id: entry.conversation_id.clone(),
            muted_until_time: muted.then(|| time::timestamp(entry.muted_until_ms)),
            pinned: entry.pinned,
            push_level: entry.push_level,
        }),
        membership: Some(MembershipState {
            conversation_id: entry.conversation_id,
            since_seq: entry.since_seq,
            until_seq: entry.until_seq,
        }),
        last_ordinal: entry.last_ordinal,
        read_ordinal: entry.read_ordinal,
        ..Default::default()
    }
}
