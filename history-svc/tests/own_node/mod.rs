//! A node of Cassandra of a test's own, started through `cargo xtask`, which names itself in
//! HEDDLE_XTASK; and logs on it whose events say where they belong.
//!
//! Each test uses what it needs of this. Invariant: the node is gone when its value is.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "helpers of a test may panic as the test may, and each test uses some of them"
)]

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use heddle_history::cassandra::{CassandraConfig, CassandraStore};
use heddle_history::store::{EventStore, Owner, StoreAnswer, StoreRead, TailRead};
use heddle_proto::ids::LogId;
use heddle_proto::internal::{Commit, CommitStatus, LogBatch};
use heddle_proto::v1::Event;
use prost::Message as _;

const XTASK: &str = "HEDDLE_XTASK";
/// A node that was killed serves again within this.
pub const RECOVERED_WITHIN: Duration = Duration::from_secs(240);

/// A node of one's own, gone at the end.
pub struct Node {
    xtask: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
    jmx_port: u16,
}

impl Node {
    /// Starts one; none where no xtask is named, which CI must not do.
    pub fn start() -> Option<Self> {
        let Some(xtask) = std::env::var_os(XTASK) else {
            let in_ci = std::env::var("CI").is_ok_and(|ci| !matches!(&*ci, "" | "0" | "false"));
            assert!(!in_ci, "{XTASK} names no xtask to start a node with");
            eprintln!("NOT TESTED: {XTASK} names no xtask; run `cargo xtask test --only unit`");
            return None;
        };
        let [any, other] = [0, 0].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
        let port = |any: &TcpListener| any.local_addr().unwrap().port();
        let node = Self {
            xtask: xtask.into(),
            dir: tempfile::tempdir().unwrap(),
            port: port(any.as_ref().unwrap()),
            jmx_port: port(other.as_ref().unwrap()),
        };
        drop((any, other));
        node.up();
        Some(node)
    }

    /// How history-svc reaches it.
    pub fn config(&self) -> CassandraConfig {
        CassandraConfig {
            nodes: vec![format!("127.0.0.1:{}", self.port)],
            replication_factor: 1,
            accept_low_replication: true,
            ..CassandraConfig::default()
        }
    }

    /// Starts it again.
    pub fn up(&self) {
        let (port, jmx_port) = (self.port.to_string(), self.jmx_port.to_string());
        self.xtask(&["up", "--port", &port, "--jmx-port", &jmx_port]);
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.xtask(&["down", "--kill"]);
    }

    /// Copies what it has now to `out`.
    pub fn snapshot(&self, out: &Path) {
        let (port, out) = (self.jmx_port.to_string(), out.to_str().unwrap());
        self.xtask(&["snapshot", "--jmx-port", &port, "--out", out]);
    }

    /// Starts it on the copy, and on nothing else.
    pub fn restore(&self, copy: &Path) {
        self.kill();
        for entry in std::fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => std::fs::remove_dir_all(path).unwrap(),
                false => std::fs::remove_file(path).unwrap(),
            }
        }
        std::fs::rename(copy.join("data"), self.dir.path().join("data")).unwrap();
        self.up();
    }

    fn xtask(&self, arguments: &[&str]) {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut command = Command::new(&self.xtask);
        command
            .current_dir(workspace)
            .arg("cassandra")
            .args(arguments);
        let status = command.arg("--dir").arg(self.dir.path()).status();
        assert!(status.unwrap().success(), "xtask cassandra {arguments:?}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The log of a shard.
pub fn log(number: u32) -> LogId {
    LogId::from_wire(&(u128::from(number) + 1).to_be_bytes()).unwrap()
}

/// What stands at a seq.
pub fn event(number: u32, seq: u64) -> Bytes {
    let sender = format!("sender of {seq} in {number}");
    Event {
        seq,
        sender,
        ..Event::default()
    }
    .encode_to_vec()
    .into()
}

/// Takes a shard and loads its log, as an owner does; answers the epoch and the head.
pub async fn take(store: &CassandraStore, shard: u32) -> (u64, u64) {
    let deadline = tokio::time::Instant::now() + RECOVERED_WITHIN;
    loop {
        let failed = match store.take_shards(vec![shard]).await {
            Ok(epochs) => match load(store, shard, epochs[0]).await {
                Ok(head) => return (epochs[0], head),
                Err(error) => error,
            },
            Err(error) => error.to_string(),
        };
        assert!(tokio::time::Instant::now() < deadline, "{failed}");
        // tidy: allow-sleep between tries, as an owner does
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The head; every event is what was written there.
pub async fn load(store: &CassandraStore, shard: u32, epoch: u64) -> Result<u64, String> {
    let read = StoreRead::Tail(TailRead {
        log_id: log(shard),
        from_seq: 0,
        events_min: usize::MAX,
        owner: Some(Owner { shard, epoch }),
    });
    let rows = match store.read(vec![read]).await.remove(0) {
        Ok(StoreAnswer::Rows { rows, .. }) => rows,
        other => return Err(format!("{other:?}")),
    };
    let mut head = 0;
    for row in rows {
        assert_eq!(row.first_seq, head + 1, "log {shard} has a hole");
        for bytes in &row.events {
            head += 1;
            assert_eq!(*bytes, event(shard, head));
        }
    }
    Ok(head)
}

/// Commits the next so many events of a shard's log; whether that was promised.
pub async fn append(store: &CassandraStore, shard: u32, epoch: u64, head: u64, count: u64) -> bool {
    let batch = LogBatch {
        log_id: log(shard).to_bytes(),
        first_seq: head + 1,
        committed_head: head,
        events: (head + 1..=head + count)
            .map(|seq| event(shard, seq))
            .collect(),
    };
    let commit = Commit {
        shard,
        epoch,
        nonce: epoch,
        batches: vec![batch],
        ..Commit::default()
    };
    store.commit(vec![commit]).await[0].status() == CommitStatus::Committed
}
