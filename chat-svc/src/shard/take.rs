//! Taking a shard over: raise the epoch, then read which logs have work open.
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
use std::{collections::HashMap, sync::Arc, time::Duration};
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

    async fn try_once(
        &self,
        history: usize,
        client: &mut StoreServiceClient<Link>,
    ) -> Result<Taken, Status> {
        let nonce = rand::random::<u64>().max(1);
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
        let epoch = *epochs
            .first()
            .ok_or_else(|| Status::internal("no epoch was given"))?;
        let (notes, found) = self.notes(client).await?;
        Ok(Taken {
            epoch,
            nonce,
            notes,
            found,
            history,
        })
    }

    /// The newest note of each log of this shard that may have work open, and all that were found.
    async fn notes(&self, client: &mut StoreServiceClient<Link>) -> Result<Notes, Status> {
        let shard_count = self.config.shard_count();
        let seen = keys::shards_ever(shard_count);
        let rows = seen
            .clone()
            .map(|shard| (Table::OldestWindows, shard.to_be_bytes().to_vec()));
        let mut partitions = Vec::new();
        for (shard, cells) in seen.zip(read_all(client, rows.collect()).await?) {
            let Some(cell) = cells.into_iter().next() else {
                continue;
            };
            let row = OldestWindowRow::decode(cell.value).unwrap_or_default();
            let windows = row.window..=row.newest_window;
            partitions.extend(windows.map(|window| (window, cells::note_partition(shard, window))));
        }
        let mut newest: HashMap<Bytes, (u64, NoteRow)> = HashMap::new();
        let mut found = Vec::new();
        for some in partitions.chunks(WINDOWS_AT_ONCE) {
            let asked = some
                .iter()
                .map(|(_, partition)| (Table::Notes, partition.to_vec()));
            let answers = read_all(client, asked.collect()).await?;
            for ((window, partition), cells) in some.iter().zip(answers) {
                for cell in cells {
                    let note = NoteRow::decode(cell.value).unwrap_or_default();
                    let log = LogId::from_wire(&note.log_id);
                    if log.is_none_or(|log| log.shard(shard_count) != self.index) {
                        continue;
                    }
                    found.push((*window, partition.clone(), cell.clustering));
                    let known = newest.get(&note.log_id).map_or(0, |(window, _)| *window);
                    if *window >= known {
                        newest.insert(note.log_id.clone(), (*window, note));
                    }
                }
            }
        }
        Ok((newest.into_values().collect(), found))
    }
}

/// The notes that count, and where all of them stand: window, partition, log.
type Notes = (Vec<(u64, NoteRow)>, Vec<(u64, Bytes, Bytes)>);

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
