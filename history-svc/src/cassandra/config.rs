//! What an operator may set of the store on Cassandra.

use std::path::PathBuf;
use std::time::Duration;

use super::session::ConnectError;

heddle_kit::config! {
    /// The event store on Apache Cassandra or ScyllaDB.
    pub struct CassandraConfig {
        /// Nodes to ask first, as host:port; the others are found through them.
        pub nodes: Vec<String> = vec!["127.0.0.1:9042".into()],
        /// The keyspace; `history-svc migrate` makes it.
        pub keyspace: String = "heddle".into(),
        /// The datacentre to work in; none: that of the first node reached. It has to be the one
        /// that the schema was made for.
        pub datacenter: Option<String> = None,
        /// Copies of each row, when `history-svc migrate` makes the keyspace.
        pub replication_factor: u32 = 3,
        /// User; none: no authentication.
        pub user: Option<String> = None,
        /// A file that holds the user's password, and nothing else.
        pub password_file: Option<PathBuf> = None,
        /// How long one try of a statement may take (milliseconds).
        pub request_timeout_ms: u64 = 2_000,
        /// After so long without an answer a statement that may be sent twice is sent to a second
        /// node too, so that nobody waits for one that is stopped; 0: never (milliseconds).
        pub speculative_after_ms: u64 = 500,
        /// How often a node is asked whether it is there, and how long it may take to say so; then
        /// its connections are closed and others are asked instead (milliseconds).
        pub keepalive_ms: u64 = 1_500,
        /// How long a statement is tried again; after that a commit's outcome is unknown and its
        /// shard has to be taken again (milliseconds).
        pub give_up_ms: u64 = 4_000,
        /// Statements under way at once; others wait for them.
        pub statements_in_flight_max: usize = 1_024,
        /// Commits of one shard that wait; one more is refused.
        pub shard_queue_len_max: usize = 256,
        /// Bytes of commits that are under way; more is refused.
        pub queue_bytes_max: usize = 64 << 20,
        /// Bring the schema up to date at start, as `history-svc migrate` does.
        pub migrate_at_start: bool = false,
        /// Serve although `commitlog_sync: periodic` acknowledges writes before they are on disk: a
        /// power cut may lose what was answered OK.
        pub accept_periodic_commitlog: bool = false,
        /// Serve from another datacentre than the one the schema was made for: what was answered
        /// OK there may not have arrived here.
        pub accept_foreign_datacenter: bool = false,
        /// Serve although fewer than three copies are kept: one lost node may lose what was
        /// answered OK.
        pub accept_low_replication: bool = false,
    }
}

impl CassandraConfig {
    /// How long one try may take.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.max(1))
    }

    /// When a second node is asked; none: never.
    pub fn speculative_after(&self) -> Option<Duration> {
        (self.speculative_after_ms > 0).then(|| Duration::from_millis(self.speculative_after_ms))
    }

    /// Between two questions whether a node is there, and the time for its answer.
    pub fn keepalive(&self) -> Duration {
        Duration::from_millis(self.keepalive_ms.max(1))
    }

    /// User and password; none: no authentication.
    pub fn credentials(&self) -> Result<Option<(String, String)>, ConnectError> {
        let Some(user) = self.user.clone() else {
            return Ok(None);
        };
        let Some(file) = &self.password_file else {
            return Ok(Some((user, String::new())));
        };
        let text = std::fs::read_to_string(file).map_err(|error| ConnectError::Refused {
            field: "cassandra.password_file",
            reason: format!("{}: {error}", file.display()),
        })?;
        let password = text.trim_end_matches(['\r', '\n']).to_owned();
        Ok(Some((user, password)))
    }

    /// How long tries go on.
    pub fn give_up(&self) -> Duration {
        Duration::from_millis(self.give_up_ms)
    }
}
