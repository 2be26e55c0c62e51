//! History: pages of a conversation.
//!
//! The owner grants what is due to the caller, with the committed head, after the call arrived; the
//! store is read within that. Events pass as bytes, what became of them appended by the store.

use super::{Api, Caller, plan};
use crate::validate::At;
use bytes::Bytes;
use heddle_proto::{
    edge::history_service_server::HistoryService,
    errors::Fault,
    ids::LogId,
    internal::{
        GrantResult, RangeQuery, RawEvent, RawListHistoryResponse, SeqRange, TimeQuery, read::Query,
    },
    time,
    v1::{ErrorReason, ListHistoryRequest, list_history_request::Anchor},
};
use plan::Stretch;
use prost::Message as _;
use tonic::{Request, Response, Status, async_trait};

const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 500;

/// What one call reads: in whose name, and how much.
struct Reading<'a> {
    api: &'a Api,
    log: LogId,
    hidden_for: Bytes,
    ranges: &'a [SeqRange],
}

/// A part of a page, by rising seq.
#[derive(Default)]
struct Page {
    events: Vec<Bytes>,
    first_seq: u64,
    last_seq: u64,
}

impl Reading<'_> {
    /// Up to `count` events at or below `seq`.
    async fn down(&self, seq: u64, count: u32) -> Result<Page, Fault> {
        let mut events = self
            .walk(plan::down_from(self.ranges, seq), count, true)
            .await?;
        events.reverse();
        Page::of(events)
    }

    /// Up to `count` events at or above `seq`.
    async fn up(&self, seq: u64, count: u32) -> Result<Page, Fault> {
        Page::of(
            self.walk(plan::up_from(self.ranges, seq), count, false)
                .await?,
        )
    }

    async fn walk(
        &self,
        stretches: Vec<Stretch>,
        count: u32,
        descending: bool,
    ) -> Result<Vec<Bytes>, Fault> {
        let mut found = Vec::new();
        for mut stretch in stretches {
            loop {
                let left = count as usize - found.len();
                if left == 0 {
                    return Ok(found);
                }
                let query = RangeQuery {
                    log_id: self.log.to_bytes(),
                    from_seq: stretch.from_seq,
                    to_seq: stretch.to_seq,
                    events_max: left as u32,
                    descending,
                    with_overlays: true,
                    hidden_for_log_id: self.hidden_for.clone(),
                    ..Default::default()
                };
                let read = self.api.edge.store.read(Query::Range(query)).await?;
                let Some(last) = read.events.last() else {
                    break;
                };
                let seq = seq(last)?;
                found.extend(read.events);
                let done = if descending {
                    seq <= stretch.from_seq
                } else {
                    seq >= stretch.to_seq
                };
                if !read.more || done {
                    break;
                }
                match descending {
                    true => stretch.to_seq = seq - 1,
                    false => stretch.from_seq = seq + 1,
                }
            }
        }
        Ok(found)
    }

    /// The first seq at or after a time; none: all is older.
    async fn since(&self, time_ms: u64, head: u64) -> Result<Option<u64>, Fault> {
        let query = TimeQuery {
            log_id: self.log.to_bytes(),
            time_ms,
            head,
        };
        let found = self.api.edge.store.read(Query::Time(query)).await?;
        Ok(Some(found.seq).filter(|seq| *seq > 0))
    }
}

impl Page {
    fn of(events: Vec<Bytes>) -> Result<Self, Fault> {
        let first_seq = events.first().map_or(Ok(0), seq)?;
        let last_seq = events.last().map_or(Ok(0), seq)?;
        Ok(Self {
            events,
            first_seq,
            last_seq,
        })
    }

    fn join(mut self, newer: Self) -> Self {
        if self.events.is_empty() {
            return newer;
        }
        if !newer.events.is_empty() {
            self.last_seq = newer.last_seq;
            self.events.extend(newer.events);
        }
        self
    }
}

fn seq(event: &Bytes) -> Result<u64, Fault> {
    let damaged = |_| Fault::new(ErrorReason::DataLoss, "a stored event cannot be read");
    RawEvent::decode(event.clone())
        .map(|event| event.seq)
        .map_err(damaged)
}

impl Api {
    async fn history(
        &self,
        caller: &Caller,
        request: ListHistoryRequest,
    ) -> Result<RawListHistoryResponse, Fault> {
        let at = At::CALL;
        let log = at.conversation(&request.conversation_id)?;
        let count = at.page_size(request.page_size, PAGE_DEFAULT, PAGE_MAX)?;
        check(at, &request.anchor)?;
        let grant = self.grant(caller, log, 0, String::new()).await?;
        let reading = Reading {
            api: self,
            log,
            hidden_for: caller.mailbox().to_bytes(),
            ranges: &grant.ranges,
        };
        let head_seq = grant.ranges.last().map_or(0, |range| range.to_seq);
        let (page, edge) = reading.page(&grant, request.anchor, count).await?;
        let (below, above) = match page.events.is_empty() {
            true => edge,
            false => (page.first_seq, page.last_seq),
        };
        Ok(RawListHistoryResponse {
            more_before: plan::more_below(&grant.ranges, below),
            more_after: plan::more_above(&grant.ranges, above),
            events: page.events,
            head_seq,
        })
    }
}

impl Reading<'_> {
    /// The page at an anchor, and the seqs just around the place where it is, should it be empty.
    async fn page(
        &self,
        grant: &GrantResult,
        anchor: Option<Anchor>,
        count: u32,
    ) -> Result<(Page, (u64, u64)), Fault> {
        let end = grant.head_seq;
        Ok(match anchor {
            None => (self.down(end, count).await?, (1, end)),
            Some(Anchor::BeforeSeq(seq)) => (
                self.down(seq.saturating_sub(1), count).await?,
                (1, seq.saturating_sub(1)),
            ),
            Some(Anchor::AfterSeq(seq)) => (
                self.up(seq.saturating_add(1), count).await?,
                (seq.saturating_add(1), end),
            ),
            Some(Anchor::AroundSeq(seq)) => {
                let older = self.down(seq, count / 2 + 1).await?;
                let left = count - older.events.len() as u32;
                let newer = self.up(seq.saturating_add(1), left).await?;
                (older.join(newer), (1, end))
            }
            Some(Anchor::FromTime(from)) => {
                match self.since(time::millis(&from), grant.head_seq).await? {
                    Some(seq) => (self.up(seq, count).await?, (seq, end)),
                    None => (Page::default(), (end.saturating_add(1), end)),
                }
            }
        })
    }
}

fn check(at: At, anchor: &Option<Anchor>) -> Result<(), Fault> {
    match anchor {
        Some(Anchor::BeforeSeq(seq)) => at.seq("before_seq", *seq),
        Some(Anchor::AfterSeq(seq)) => at.seq_or_none("after_seq", *seq),
        Some(Anchor::AroundSeq(seq)) => at.seq("around_seq", *seq),
        Some(Anchor::FromTime(_)) | None => Ok(()),
    }
}

#[async_trait]
impl HistoryService for Api {
    async fn list_history(
        &self,
        request: Request<ListHistoryRequest>,
    ) -> Result<Response<RawListHistoryResponse>, Status> {
        let caller = self.caller(request.metadata(), "ListHistory").await?;
        Ok(Response::new(
            self.history(&caller, request.into_inner()).await?,
        ))
    }
}
