//! Taking a shard over: raise the epoch, then read which logs have work open.
//!
//! From the raise on the owner before serves no more, so that sends wait: all that may be read
//! before is. Where notes stand is asked first, and those that other shards left, of a time when
//! there were more or fewer, are read; only the shard's own are read after the raise, and whether
//! the owner before noted more is asked beside that.
//!
//! Tried until it succeeds or the service stops; until then the shard refuses commands with
//! OWNER_CHANGING.

use super::input::Taken;
use crate::{cells, config::ChatConfig, store_link};
use bytes::Bytes;
use heddle_kit::{AnyOf, Link};
use heddle_proto::{
    ids::LogId,
    internal::{
        Cell, NoteRow, OldestWindowRow, PartitionQuery, Read, ReadRequest, Table,
        TakeShardsRequest, read::Query, store_service_client::StoreServiceClient,
    },
    keys,
};
use prost::Message as _;
use std::{collections::HashMap, ops::Range, sync::Arc, time::Duration};
use tonic::Status;

/// How long to wait before another try, in milliseconds.
const RETRY_MS: u64 = 200;
/// Windows of notes that are read at once.
const WINDOWS_AT_ONCE: usize = 256;

/// A shard about to be taken.
pub(super) struct Taking {
    pub index: u32,
    pub config: Arc<ChatConfig>,
    pub history: AnyOf,
}

impl Taking {
    /// Takes the shard, however long it takes.
    pub async fn run(self) -> Taken {
        let mut tries = 0u32;
        loop {
            // Where the shard's commits will go: the link may have moved on meanwhile.
            let (history, link) = self.history.chosen();
            let mut client = store_link::client(link);
            match self.try_once(history, &mut client).await {
                Ok(taken) => return taken,
                Err(status) => {
                    // Once per ten seconds: a store that is not up yet is no news each time.
                    if tries.is_multiple_of(50) {
                        let shard = self.index;
                        tracing::warn!(shard, %status, "waiting for history-svc to take the shard");
                    }
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
                }
            }
        }
    }

    /// Raises the epoch at a certain history-svc, however long it takes.
    pub async fn raise_at(self, history: usize, nonce: u64) -> u64 {
        let mut client = store_link::client(self.history.link(history));
        loop {
            match self.raise(&mut client, nonce).await {
                Ok(epoch) => return epoch,
                Err(status) => {
                    let shard = self.index;
                    tracing::info!(shard, %status, "the epoch was not raised; trying again");
                    tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
                }
            }
        }
    }

    async fn try_once(
        &self,
        history: usize,
        client: &mut StoreServiceClient<Link>,
    ) -> Result<Taken, Status> {
        let nonce = rand::random::<u64>().max(1);
        let all = keys::shards_ever(self.config.shard_count());
        let (own, others): (Vec<_>, Vec<_>) = (self.noted(client, all).await?)
            .into_iter()
            .partition(|noted| noted.shard == self.index);
        let of_others = self.notes(client, &others).await?;
        let epoch = self.raise(client, nonce).await?;
        // The owner before may have noted more until now: what it did then is read in any case.
        let mut beside = client.clone();
        let now = self.noted(&mut beside, self.index..self.index + 1);
        let (mut notes, now) = tokio::try_join!(self.notes(client, &own), now)?;
        let newly: Vec<_> = now.into_iter().filter(|it| !own.contains(it)).collect();
        if !newly.is_empty() {
            notes.extend(self.notes(client, &newly).await?);
        }
        notes.extend(of_others);
        let (notes, found) = newest(notes);
        Ok(Taken {
            epoch,
            nonce,
            notes,
            found,
            history,
        })
    }

    async fn raise(
        &self,
        client: &mut StoreServiceClient<Link>,
        nonce: u64,
    ) -> Result<u64, Status> {
        let node = self
            .config
            .node
            .clone()
            .unwrap_or_else(|| "one-process".to_owned());
        let request = TakeShardsRequest {
            shards: vec![self.index],
            node,
            nonce,
        };
        let epochs = client.take_shards(request).await?.into_inner().epochs;
        let epoch = epochs.first().copied();
        epoch.ok_or_else(|| Status::internal("no epoch was given"))
    }

    /// Where notes stand that these shards left.
    async fn noted(
        &self,
        client: &mut StoreServiceClient<Link>,
        shards: Range<u32>,
    ) -> Result<Vec<NotedIn>, Status> {
        let rows = shards
            .clone()
            .map(|shard| (Table::OldestWindows, shard.to_be_bytes().to_vec()));
        let mut noted = Vec::new();
        for (shard, cells) in shards.zip(read_all(client, rows.collect()).await?) {
            let Some(cell) = cells.into_iter().next() else {
                continue;
            };
            let row = OldestWindowRow::decode(cell.value).unwrap_or_default();
            let windows = row.window..=row.newest_window;
            noted.extend(windows.map(|window| NotedIn { shard, window }));
        }
        Ok(noted)
    }

    /// The notes that stand there, of this shard's logs.
    async fn notes(
        &self,
        client: &mut StoreServiceClient<Link>,
        noted: &[NotedIn],
    ) -> Result<Vec<Found>, Status> {
        let shard_count = self.config.shard_count();
        let mut notes = Vec::new();
        for some in noted.chunks(WINDOWS_AT_ONCE) {
            let asked = some.iter().map(NotedIn::partition);
            let asked = asked.map(|partition| (Table::Notes, partition.to_vec()));
            let answers = read_all(client, asked.collect()).await?;
            for (noted, cells) in some.iter().zip(answers) {
                for cell in cells {
                    let note = NoteRow::decode(cell.value).unwrap_or_default();
                    let log = LogId::from_wire(&note.log_id);
                    if log.is_some_and(|log| log.shard(shard_count) == self.index) {
                        let at = (noted.window, noted.partition(), cell.clustering);
                        notes.push((at, note));
                    }
                }
            }
        }
        Ok(notes)
    }
}

/// A window of a shard's notes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct NotedIn {
    shard: u32,
    window: u64,
}

impl NotedIn {
    fn partition(&self) -> Bytes {
        cells::note_partition(self.shard, self.window)
    }
}

/// Where a note stands: window, partition, log.
type Place = (u64, Bytes, Bytes);
/// A note, and where it stands.
type Found = (Place, NoteRow);

/// The newest note of each log that may have work open, and where all of them stand.
fn newest(notes: Vec<Found>) -> (Vec<(u64, NoteRow)>, Vec<Place>) {
    let mut newest: HashMap<Bytes, (u64, NoteRow)> = HashMap::new();
    let mut found = Vec::with_capacity(notes.len());
    for (at, note) in notes {
        let known = newest.get(&note.log_id).map_or(0, |(window, _)| *window);
        if at.0 >= known {
            newest.insert(note.log_id.clone(), (at.0, note));
        }
        found.push(at);
    }
    (newest.into_values().collect(), found)
}

/// The rows of some partitions, in the order asked for.
async fn read_all(
    client: &mut StoreServiceClient<Link>,
    partitions: Vec<(Table, Vec<u8>)>,
) -> Result<Vec<Vec<Cell>>, Status> {
    let count = partitions.len();
    let reads = partitions
        .into_iter()
        .zip(1u64..)
        .map(|((table, partition), id)| {
            let partition = Bytes::from(partition);
            let query = PartitionQuery {
                table: table as i32,
                partition,
                ..Default::default()
            };
            Read {
                id,
                query: Some(Query::Partition(query)),
            }
        });
    let request = ReadRequest {
        reads: reads.collect(),
    };
    let frames = tokio_stream::once(request);
    let mut answers = client.read(frames).await?.into_inner();
    let mut all = vec![Vec::new(); count];
    let mut left = count;
    while left > 0 {
        let Some(frame) = answers.message().await? else {
            return Err(Status::unavailable("the read stream ended early"));
        };
        for outcome in frame.outcomes {
            if outcome.code != 0 {
                return Err(Status::new(outcome.code.into(), outcome.message));
            }
            left -= 1;
            if let Some(cells) = all.get_mut(outcome.id as usize - 1) {
                *cells = outcome.cells;
            }
        }
    }
    Ok(all)
}
