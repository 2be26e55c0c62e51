//! Many empty stores in one keyspace, since making one takes a node seconds: each has its own
//! shards, logs and partitions, and changes nothing else.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use heddle_proto::ids::LogId;
use heddle_proto::internal::{Commit, CommitOutcome};

use super::*;
use crate::cassandra::schema::GROUP_SHARDS;
use crate::store::{EventStore, ReadResult, StoreError, StoreRead};

/// One of them.
pub struct Scoped {
    store: Arc<CassandraStore>,
    number: u8,
}

impl Scoped {
    pub fn new(store: Arc<CassandraStore>, number: u8) -> Self {
        Self { store, number }
    }

    fn shard(&self, shard: u32) -> u32 {
        shard + GROUP_SHARDS * u32::from(self.number)
    }

    /// What is no log id stays none.
    fn log_id(&self, id: &Bytes) -> Bytes {
        let mut id = id.to_vec();
        if id.len() == 16 {
            id[15] ^= self.number;
        }
        id.into()
    }

    fn partition(&self, partition: &Bytes) -> Bytes {
        [&partition[..], &[self.number]].concat().into()
    }

    fn commit(&self, mut commit: Commit) -> Commit {
        commit.shard = self.shard(commit.shard);
        for batch in &mut commit.batches {
            batch.log_id = self.log_id(&batch.log_id);
        }
        for blank in &mut commit.blanks {
            blank.log_id = self.log_id(&blank.log_id);
        }
        for cell in &mut commit.cells {
            cell.partition = self.partition(&cell.partition);
        }
        commit
    }

    fn read(&self, mut read: StoreRead) -> StoreRead {
        let scoped = |id: LogId| LogId::from_wire(&self.log_id(&id.to_bytes())).unwrap();
        match &mut read {
            StoreRead::Tail(read) => read.log_id = scoped(read.log_id),
            StoreRead::Rows(read) => read.log_id = scoped(read.log_id),
            StoreRead::Cells(read) => read.partition = self.partition(&read.partition),
        }
        read
    }
}

impl EventStore for Scoped {
    fn take_shards(&self, shards: Vec<u32>) -> BoxFuture<'static, Result<Vec<u64>, StoreError>> {
        let shards = shards.into_iter().map(|shard| self.shard(shard));
        self.store.take_shards(shards.collect())
    }

    fn commit(&self, commits: Vec<Commit>) -> BoxFuture<'static, Vec<CommitOutcome>> {
        let commits = commits.into_iter().map(|commit| self.commit(commit));
        self.store.commit(commits.collect())
    }

    fn read(&self, reads: Vec<StoreRead>) -> BoxFuture<'static, Vec<ReadResult>> {
        let reads = reads.into_iter().map(|read| self.read(read));
        self.store.read(reads.collect())
    }

    fn reads_together(&self) -> bool {
        self.store.reads_together()
    }
}
