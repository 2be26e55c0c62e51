//! Store: mailboxes, a conversation and rows of tables, read as history-svc would.

use bytes::Bytes;
use futures_util::StreamExt;
use heddle_proto::{
    internal::{
        Cell, CommitRequest, CommitResponse, LeaseRequest, LeaseResponse, MailboxQuery,
        PartitionQuery, RangeQuery, RawEvent, ReadOutcome, ReadRequest, ReadResponse,
        StoredDelivery, TakeShardsRequest, TakeShardsResponse, raw_event, read::Query,
        store_service_server::StoreService, stored_delivery::Body,
    },
    v1::{self, message::Content},
};
use prost::Message as _;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::chat::NONCE;

/// An event store.
#[derive(Clone, Default)]
pub struct Store(Arc<Mutex<State>>, Arc<RwLock<()>>);

#[derive(Default)]
struct State {
    mailbox: Vec<Bytes>,
    cells: Vec<Cell>,
    fails: usize,
    queries: Vec<Query>,
}

/// A message as an event of the conversation, with a text of so many bytes.
pub fn event(seq: u64, sender: &str, text_bytes: usize) -> Bytes {
    let message = v1::Message {
        content: Some(Content::Text("x".repeat(text_bytes))),
        ..Default::default()
    };
    let event = RawEvent {
        conversation_id: Bytes::from_static(&[9; 16]),
        seq,
        sender: sender.into(),
        kind: Some(raw_event::Kind::Message(message.encode_to_vec().into())),
        ..Default::default()
    };
    event.encode_to_vec().into()
}

impl Store {
    /// Appends to everybody's mailbox; answers the position.
    pub fn append(&self, body: Bytes) -> u64 {
        let mut state = self.0.lock().unwrap();
        state.mailbox.push(body);
        state.mailbox.len() as u64
    }

    /// Stores a row of a table.
    pub fn put(&self, cell: Cell) {
        let mut state = self.0.lock().unwrap();
        state.cells.push(cell);
        state
            .cells
            .sort_by(|one, other| one.clustering.cmp(&other.clustering));
    }

    /// Fails so many reads.
    pub fn fail(&self, count: usize) {
        self.0.lock().unwrap().fails = count;
    }

    /// Answers no read until this is dropped.
    pub async fn hold(&self) -> OwnedRwLockWriteGuard<()> {
        self.1.clone().write_owned().await
    }

    /// The reads so far.
    pub fn queries(&self) -> Vec<Query> {
        self.0.lock().unwrap().queries.clone()
    }

    fn read(&self, id: u64, query: Option<Query>) -> ReadOutcome {
        let mut state = self.0.lock().unwrap();
        state.queries.extend(query.clone());
        if state.fails > 0 {
            state.fails -= 1;
            return ReadOutcome {
                id,
                code: 14,
                ..Default::default()
            };
        }
        let outcome = match query {
            Some(Query::Mailbox(query)) => state.mailbox(&query),
            Some(Query::Range(query)) => range(&query),
            Some(Query::Partition(query)) => state.partition(&query),
            Some(Query::Time(_)) => ReadOutcome {
                seq: 90,
                ..Default::default()
            },
            _ => ReadOutcome::default(),
        };
        ReadOutcome { id, ..outcome }
    }
}

impl State {
    fn mailbox(&self, query: &MailboxQuery) -> ReadOutcome {
        let mut outcome = ReadOutcome::default();
        let mut bytes = 0;
        let head = query.head.min(self.mailbox.len() as u64);
        for position in query.after_position + 1..=head {
            let body = self.mailbox[position as usize - 1].clone();
            bytes += body.len();
            let count = outcome.deliveries.len() as u32;
            let full = query.bytes_max > 0 && bytes > query.bytes_max as usize;
            if count > 0 && (full || (query.entries_max > 0 && count >= query.entries_max)) {
                outcome.more = true;
                break;
            }
            let body = Some(Body::Event(body));
            let entry = StoredDelivery {
                position,
                nonce: NONCE,
                previous_seq: 0,
                body,
            };
            outcome.deliveries.push(entry);
        }
        outcome
    }
}

impl State {
    /// At most one row at a time, as if they were long.
    fn partition(&self, query: &PartitionQuery) -> ReadOutcome {
        let within = |cell: &&Cell| {
            (cell.table, &cell.partition) == (query.table, &query.partition)
                && cell.clustering.starts_with(&query.clustering_prefix)
                && cell.clustering > query.after_clustering
        };
        let mut found = self.cells.iter().filter(within).cloned();
        let cells: Vec<_> = found.next().into_iter().collect();
        let more = found.next().is_some();
        ReadOutcome {
            cells,
            more,
            ..Default::default()
        }
    }
}

/// A conversation with an event at every seq, answered at most three at a time.
fn range(query: &RangeQuery) -> ReadOutcome {
    let asked = if query.events_max == 0 {
        3
    } else {
        query.events_max
    };
    let count = (asked as usize).min(3);
    let seqs = query.from_seq..=query.to_seq;
    let more = seqs.clone().count() > count;
    let seqs: Vec<u64> = match query.descending {
        true => seqs.rev().take(count).collect(),
        false => seqs.take(count).collect(),
    };
    let events = seqs.into_iter().map(|seq| event(seq, "bob", 5)).collect();
    ReadOutcome {
        events,
        more,
        ..Default::default()
    }
}

#[async_trait]
impl StoreService for Store {
    type CommitStream = ReceiverStream<Result<CommitResponse, Status>>;
    type ReadStream = ReceiverStream<Result<ReadResponse, Status>>;

    async fn commit(
        &self,
        _: Request<Streaming<CommitRequest>>,
    ) -> Result<Response<Self::CommitStream>, Status> {
        Err(Status::unimplemented("gateways do not write"))
    }

    async fn read(
        &self,
        request: Request<Streaming<ReadRequest>>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let (answers, stream) = mpsc::channel(64);
        let (store, mut frames) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Some(Ok(frame)) = frames.next().await {
                let reads = frame.reads.into_iter();
                let outcomes = reads.map(|read| store.read(read.id, read.query)).collect();
                let _open = store.1.read().await;
                let _gone = answers.send(Ok(ReadResponse { outcomes })).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn take_shards(
        &self,
        _: Request<TakeShardsRequest>,
    ) -> Result<Response<TakeShardsResponse>, Status> {
        Err(Status::unimplemented("gateways own nothing"))
    }

    async fn lease(&self, _: Request<LeaseRequest>) -> Result<Response<LeaseResponse>, Status> {
        Err(Status::unimplemented("gateways have no lease"))
    }
}
