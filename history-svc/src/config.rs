//! What an operator may set of the event store; each bound with its default and what it costs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use heddle_kit::run::ProcessConfig;
use heddle_kit::tls::TlsOptions;
use heddle_kit::{LayerOptions, ProcessOptions, ServeOptions};
use serde::{Deserialize, Serialize};

use crate::cassandra::CassandraConfig;

heddle_kit::config! {
    /// The event store.
    pub struct HistoryConfig {
        /// The data directory; the store lies in `store` below it.
        pub data_dir: PathBuf = "heddle-data".into(),
        /// Frames of commits that may wait for the disk; one more is refused.
        pub queue_len_max: usize = 1024,
        /// Bytes of commits that may wait for the disk; more is refused.
        pub queue_bytes_max: usize = 64 << 20,
        /// Bytes that go to disk with one sync; a single larger commit goes alone.
        pub sync_bytes_max: usize = 8 << 20,
        /// Threads that read from the store at once; other reads wait for them.
        pub blocking_reads_max: usize = 4,
        /// Reads of one stream under way or answered but not yet taken; one more is answered
        /// RESOURCE_EXHAUSTED.
        pub reads_in_flight_max: usize = 4096,
        /// Commits of one stream under way; one more is refused.
        pub commits_in_flight_max: usize = 4096,
        /// Answers of one stream that wait to be written (bytes). Past half of it reads wait for
        /// their turn.
        pub answers_bytes_max: usize = 64 << 20,
        /// Commits are refused while the file system has less free space than this (bytes).
        pub disk_free_bytes_min: u64 = 128 << 20,
        /// Blocks of the store's tables kept in memory (bytes).
        pub cache_bytes: u64 = 16 << 20,
        /// Rows kept in memory before they are written out as a table (bytes, of each of two
        /// kinds; up to four such tables may be waiting).
        pub memtable_bytes_max: u64 = 16 << 20,
        /// Journals kept on disk (bytes); past it, what keeps the oldest is written out.
        pub journal_bytes_max: u64 = 256 << 20,
        /// Hours after which an erased body is removed from journals and old tables too.
        pub erase_compaction_hours: u64 = 6,
        /// Open the store although something that was acknowledged is missing. What is lost is
        /// logged, and accepted for good.
        pub accept_data_loss: bool = false,
    }
}

impl HistoryConfig {
    /// The defaults, on this data directory.
    pub fn at(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            ..Self::default()
        }
    }

    /// Where the store lies.
    pub fn store_dir(&self) -> PathBuf {
        self.data_dir.join("store")
    }

    /// Age of the oldest erased body at which compaction runs.
    pub fn erase_compaction_age(&self) -> Duration {
        Duration::from_secs(self.erase_compaction_hours.saturating_mul(3600))
    }
}

/// The backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// In one directory, served by this process alone.
    Embedded,
    /// On Apache Cassandra or ScyllaDB.
    Cassandra,
}

heddle_kit::config! {
    /// The history service as a process of its own.
    pub struct HistoryProcess {
        /// Where shards and gateways connect.
        pub listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 7449)),
        /// Where events are kept: "embedded" in a directory of this machine, or "cassandra".
        pub store: StoreKind = StoreKind::Embedded,
    sections
        /// The event store; of one on Cassandra only the bounds of streams count.
        pub history: HistoryConfig,
        /// The event store on Cassandra.
        pub cassandra: CassandraConfig,
        /// The process around the service.
        pub process: ProcessOptions,
        /// How HTTP is spoken to shards and gateways.
        pub serve: ServeOptions,
        /// What stands in front of the handlers.
        pub layers: LayerOptions,
        /// Certificates between services; needed where others than this machine can connect.
        pub tls: TlsOptions,
    }
}

impl ProcessConfig for HistoryProcess {
    fn process(&self) -> &ProcessOptions {
        &self.process
    }
}
