//! The engine below the embedded store: two keyspaces, opened with care.
//!
//! `logs` holds rows, `cells` the projections and, as table 0, the store's own records: how many
//! commits there were, the epochs, whether an erased body may still lie in old files.
//!
//! Invariant: no panic of the engine leaves this module, and no record is used before its checksum
//! was found right.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::{AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, Readable, Snapshot};
use heddle_proto::ids::LogId;

use super::heads::Head;
use super::open_error::OpenError;
use crate::cell::{self, CellKey};
use crate::config::HistoryConfig;
use crate::row::{self, Damage};
use crate::store::ReadError;

/// The store's own cells, by clustering key.
pub const COMMIT_COUNT: &[u8] = b"c";
pub const EPOCH_COUNT: &[u8] = b"e";
pub const ERASED_SINCE: &[u8] = b"b";
pub const FILLER: &[u8] = b"f";
const SHARD_EPOCH: u8 = b's';

/// Threads of the engine that write tables and compact them.
const WORKERS: usize = 1;
/// Fresh tables that are left as they are before they are merged into the older ones: each merge
/// writes the older ones again.
const L0_TABLES: u8 = 8;
/// Size of a merged table. A merge of two levels takes one table and ten below it, and the first
/// level holds `L0_TABLES` of them; while the engine's thread merges, it writes no memory out.
const TABLE_BYTES: u64 = 8 << 20;
/// How far over its bound the memory of a keyspace may grow, since the engine only asks its thread
/// to seal it: past it the writer does, and waits as long as four are sealed.
const MEMTABLE_OVERRUN_MAX: u64 = 2;
/// Files that the engine keeps open.
const OPEN_FILES_MAX: usize = 256;

/// The opened engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub logs: Keyspace,
    pub cells: Keyspace,
    pub db: Database,
    memtable_bytes_max: u64,
}

impl Engine {
    /// Opens or makes the engine's files.
    pub fn open(path: &Path, config: &HistoryConfig) -> Result<Self, OpenError> {
        let failed = |detail: String| OpenError::Engine {
            path: path.to_owned(),
            detail,
        };
        let opened = catch_unwind(AssertUnwindSafe(|| Self::open_engine(path, config)));
        match opened {
            Ok(Ok(engine)) => Ok(engine),
            Ok(Err(error)) => Err(failed(format!("{error}; restore the data directory"))),
            Err(_) => Err(failed(
                "it panicked; restore the data directory from a copy".into(),
            )),
        }
    }

    fn open_engine(path: &Path, config: &HistoryConfig) -> fjall::Result<Self> {
        let db = Database::builder(path)
            .cache_size(config.cache_bytes)
            .journal_compression(fjall::CompressionType::None)
            .max_journaling_size(config.journal_bytes_max.max(64 << 20))
            .max_cached_files(Some(OPEN_FILES_MAX))
            .worker_threads(WORKERS)
            .open()?;
        let memtable = config.memtable_bytes_max.max(1 << 20);
        let compaction = Leveled::default()
            .with_l0_threshold(L0_TABLES)
            .with_table_target_size(TABLE_BYTES);
        let compaction = Arc::new(compaction);
        let options = move || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(memtable)
                .compaction_strategy(compaction.clone())
        };
        let logs = db.keyspace("logs", &options)?;
        let cells = db.keyspace("cells", &options)?;
        Ok(Self {
            logs,
            cells,
            db,
            memtable_bytes_max: memtable * MEMTABLE_OVERRUN_MAX,
        })
    }

    /// Keeps what is in memory and not in tables within its bound.
    pub fn bound_memory(&self) -> fjall::Result<()> {
        for keyspace in [&self.logs, &self.cells] {
            let bytes = keyspace.tree.active_memtable().size();
            if bytes > self.memtable_bytes_max {
                let name = &**keyspace.name();
                tracing::info!(name, bytes, "sealed by the writer: the engine is behind");
                keyspace.rotate_memtable()?;
            }
        }
        Ok(())
    }

    /// The value of one of the store's own cells; 0 if it was never written.
    pub fn own_number(&self, clustering: &[u8]) -> Result<u64, ReadError> {
        let key = own_key(clustering);
        let stored = self.cells.get(&key).map_err(engine_error)?;
        let Some(stored) = stored.map(Bytes::from) else {
            return Ok(0);
        };
        let value = cell::decode_value(&key, &stored).map_err(|damage| damaged(&key, damage))?;
        let number = <[u8; 8]>::try_from(&value[..]).map(u64::from_be_bytes);
        number.map_err(|_| damaged(&key, Damage::Content("number")))
    }

    /// All epochs of shards.
    pub fn shard_epochs(&self) -> Result<Vec<(u32, u64)>, ReadError> {
        let mut epochs = Vec::new();
        for guard in self.cells.prefix(own_key(&[SHARD_EPOCH])) {
            let (key, value) = guard.into_inner().map_err(engine_error)?;
            let value = cell::decode_value(&key, &Bytes::from(value));
            let value = value.map_err(|damage| damaged(&key, damage))?;
            let shard = key
                .last_chunk::<4>()
                .map(|bytes| u32::from_be_bytes(*bytes));
            let epoch = <[u8; 8]>::try_from(&value[..]).map(u64::from_be_bytes).ok();
            let pair = shard.zip(epoch);
            epochs.push(pair.ok_or_else(|| damaged(&key, Damage::Content("epoch")))?);
        }
        Ok(epochs)
    }

    /// Where a log ends.
    pub fn head(&self, log_id: &LogId) -> Result<Head, ReadError> {
        let range = row::key(log_id, 0)..=row::key(log_id, u64::MAX);
        let Some(guard) = self.logs.range(range).next_back() else {
            return Ok(Head::default());
        };
        let (key, value) = guard.into_inner().map_err(engine_error)?;
        let head = row::decode_head(&key, &value);
        let (last_seq, header) = head.map_err(|damage| damaged(&key, damage))?;
        Ok(Head {
            last_seq,
            epoch: header.epoch,
        })
    }
}

/// The row with the greatest first seq that is not above `seq`.
pub fn row_at_or_below(
    snapshot: &Snapshot,
    logs: &Keyspace,
    log_id: &LogId,
    seq: u64,
) -> Result<Option<row::Row>, ReadError> {
    let range = row::key(log_id, 0)..=row::key(log_id, seq);
    let Some(guard) = snapshot.range(logs, range).next_back() else {
        return Ok(None);
    };
    let (key, value) = guard.into_inner().map_err(engine_error)?;
    row::decode(&key, &value.into())
        .map(Some)
        .map_err(|damage| damaged(&key, damage))
}

/// The key of one of the store's own cells.
pub fn own_key(clustering: &[u8]) -> Bytes {
    CellKey {
        table: 0,
        partition: &[],
        clustering,
    }
    .to_bytes()
}

/// The clustering key of a shard's epoch.
pub fn shard_epoch_clustering(shard: u32) -> [u8; 5] {
    let mut clustering = [SHARD_EPOCH; 5];
    clustering[1..].copy_from_slice(&shard.to_be_bytes());
    clustering
}

/// A record that is there but wrong.
pub fn damaged(key: &[u8], damage: Damage) -> ReadError {
    let what = match (row::parse_key(key), cell::parse_key(key)) {
        (Ok((log_id, seq)), _) => {
            format!("row {seq} of log {log_id}")
        }
        (_, Ok(key)) => format!("a cell of table {}", key.table),
        _ => "a record".to_owned(),
    };
    ReadError::DataLoss(format!(
        "{what} is damaged, {damage}; run `heddle check --store` and restore from a copy"
    ))
}

/// The engine failed to read.
pub fn engine_error(error: fjall::Error) -> ReadError {
    use fjall::{Error, LsmError};
    let io = matches!(error, Error::Io(_) | Error::Storage(LsmError::Io(_)));
    if io {
        return ReadError::Unavailable(error.to_string());
    }
    ReadError::DataLoss(format!(
        "a file of the store is damaged ({error}); run `heddle check --store` and restore from a \
         copy"
    ))
}
