//! Every statement of the data path, in one place, prepared once.
//!
//! Each knows what it counts as in `heddle.history.statements`; `session` counts.
//!
//! Invariant: a write to a log's tables names its timestamp. Epochs are written conditionally, and
//! by nothing else. Leases alone have the time of the node that takes them: their age is measured
//! by it.

use heddle_kit::telemetry::{Tallies, Tally};
use heddle_proto::internal::Table;

use super::driver::{Prepared, Session};
use super::schema::CELL_TABLES;
use super::session::ConnectError;

/// One of them.
pub struct Statement {
    /// What the driver made of it.
    pub prepared: Box<dyn Prepared>,
    /// How often it was sent.
    pub sent: Tally,
    /// What it does, and to which table.
    pub counted: Counted,
}

/// Of one projection table.
pub struct CellStatements {
    /// partition, clustering, value, timestamp
    pub write: Statement,
    /// timestamp, partition, clustering
    pub delete: Statement,
    /// partition, from, at most
    pub from: Statement,
    /// partition, from, until, at most
    pub between: Statement,
}

/// All of them.
pub struct Statements {
    /// log, bucket, first seq, value, timestamp
    pub row_write: Statement,
    /// log, bucket, first seq at most, at most
    pub rows_down: Statement,
    /// log, bucket, first seq at least, first seq at most, at most
    pub rows_up: Statement,
    /// log, committed head, timestamp
    pub anchor_write: Statement,
    /// log
    pub anchor_read: Statement,
    /// epoch, who, group, shard, epoch before
    pub epoch_raise: Statement,
    /// group
    pub epochs_read: Statement,
    /// Any shard.
    pub any_shard: Statement,
    /// Any row of a log.
    pub any_row: Statement,
    /// pool, node, incarnation, ttl_ms, address, leaving, owned, cut_off, seconds until it expires
    pub lease_write: Statement,
    /// pool, node, incarnation
    pub lease_end: Statement,
    /// pool
    pub leases_read: Statement,
    /// name, value; unless the name has one
    pub setting_pin: Statement,
    /// name
    pub setting_read: Statement,
    cells: Vec<CellStatements>,
}

/// The texts; `{k}` is the keyspace.
mod text {
    pub const ROW_WRITE: &str = "INSERT INTO {k}.log (log_id, bucket, first_seq, value) \
                                 VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    pub const ROWS_DOWN: &str = "SELECT first_seq, value FROM {k}.log WHERE log_id = ? AND \
                                 bucket = ? AND first_seq <= ? ORDER BY first_seq DESC LIMIT ?";
    pub const ROWS_UP: &str = "SELECT first_seq, value FROM {k}.log WHERE log_id = ? AND \
                               bucket = ? AND first_seq >= ? AND first_seq <= ? LIMIT ?";
    pub const ANCHOR_WRITE: &str = "INSERT INTO {k}.log_anchors (log_id, committed_head) \
                                    VALUES (?, ?) USING TIMESTAMP ?";
    pub const ANCHOR_READ: &str = "SELECT committed_head FROM {k}.log_anchors WHERE log_id = ?";
    pub const EPOCH_RAISE: &str = "UPDATE {k}.shards SET epoch = ?, raised_by = ? WHERE \
                                   shard_group = ? AND shard = ? IF epoch = ?";
    pub const EPOCHS_READ: &str =
        "SELECT shard, epoch, raised_by FROM {k}.shards WHERE shard_group = ?";
    pub const ANY_SHARD: &str = "SELECT shard FROM {k}.shards LIMIT 1";
    pub const ANY_ROW: &str = "SELECT first_seq FROM {k}.log LIMIT 1";
    pub const LEASE_WRITE: &str = "INSERT INTO {k}.nodes (pool, node, incarnation, ttl_ms, \
                                   address, leaving, owned, cut_off) \
                                   VALUES (?, ?, ?, ?, ?, ?, ?, ?) \
                                   USING TTL ?";
    pub const LEASE_END: &str =
        "DELETE FROM {k}.nodes WHERE pool = ? AND node = ? AND incarnation = ?";
    pub const LEASES_READ: &str = "SELECT node, incarnation, ttl_ms, address, leaving, owned, \
                                   cut_off, WRITETIME(ttl_ms), toUnixTimestamp(now()) \
                                   FROM {k}.nodes \
                                   WHERE pool = ?";
    pub const SETTING_PIN: &str =
        "INSERT INTO {k}.schema_settings (name, value) VALUES (?, ?) IF NOT EXISTS";
    pub const SETTING_READ: &str = "SELECT value FROM {k}.schema_settings WHERE name = ?";
    pub const CELL_WRITE: &str = "INSERT INTO {k}.{t} (partition, clustering, value) \
                                  VALUES (?, ?, ?) USING TIMESTAMP ?";
    pub const CELL_DELETE: &str = "DELETE FROM {k}.{t} USING TIMESTAMP ? WHERE partition = ? \
                                   AND clustering = ?";
    pub const CELLS_FROM: &str = "SELECT clustering, value FROM {k}.{t} WHERE partition = ? AND \
                                  clustering >= ? LIMIT ?";
    pub const CELLS_BETWEEN: &str = "SELECT clustering, value FROM {k}.{t} WHERE partition = ? \
                                     AND clustering >= ? AND clustering < ? LIMIT ?";
}

/// What a statement does, and to which table: the attributes that it is counted under.
pub type Counted = (&'static str, &'static str);

/// Prepares statements and gives each its count.
struct Preparing<'a> {
    session: &'a dyn Session,
    keyspace: &'a str,
    tallies: Tallies<2>,
}

impl Preparing<'_> {
    async fn one(&mut self, text: &str, counted: Counted) -> Result<Statement, ConnectError> {
        let (kind, table) = counted;
        let text = text.replace("{k}", self.keyspace).replace("{t}", table);
        let prepared = self.session.prepare(&text).await;
        Ok(Statement {
            prepared: prepared.map_err(ConnectError::Prepare)?,
            sent: self.tallies.of([("kind", kind), ("table", table)]),
            counted,
        })
    }

    async fn cells(&mut self, table: &'static str) -> Result<CellStatements, ConnectError> {
        Ok(CellStatements {
            write: self.one(text::CELL_WRITE, ("cell_write", table)).await?,
            delete: self.one(text::CELL_DELETE, ("cell_delete", table)).await?,
            from: self.one(text::CELLS_FROM, ("cell_read", table)).await?,
            between: self.one(text::CELLS_BETWEEN, ("cell_read", table)).await?,
        })
    }
}

impl Statements {
    /// Prepares all of them, and has metrics show how often each is sent.
    pub async fn prepare(session: &dyn Session, keyspace: &str) -> Result<Self, ConnectError> {
        let mut preparing = Preparing {
            session,
            keyspace,
            tallies: Tallies::default(),
        };
        let mut cells = Vec::with_capacity(CELL_TABLES.len());
        for (_, table) in CELL_TABLES {
            cells.push(preparing.cells(table).await?);
        }
        let mut one = async |text, kind, table| preparing.one(text, (kind, table)).await;
        let all = Self {
            row_write: one(text::ROW_WRITE, "row_write", "log").await?,
            rows_down: one(text::ROWS_DOWN, "row_read", "log").await?,
            rows_up: one(text::ROWS_UP, "row_read", "log").await?,
            anchor_write: one(text::ANCHOR_WRITE, "anchor_write", "log_anchors").await?,
            anchor_read: one(text::ANCHOR_READ, "anchor_read", "log_anchors").await?,
            epoch_raise: one(text::EPOCH_RAISE, "epoch_raise", "shards").await?,
            epochs_read: one(text::EPOCHS_READ, "epoch_read", "shards").await?,
            any_shard: one(text::ANY_SHARD, "start_read", "shards").await?,
            any_row: one(text::ANY_ROW, "start_read", "log").await?,
            lease_write: one(text::LEASE_WRITE, "lease_write", "nodes").await?,
            lease_end: one(text::LEASE_END, "lease_delete", "nodes").await?,
            leases_read: one(text::LEASES_READ, "lease_read", "nodes").await?,
            setting_pin: one(text::SETTING_PIN, "setting_pin", "schema_settings").await?,
            setting_read: one(text::SETTING_READ, "setting_read", "schema_settings").await?,
            cells,
        };
        preparing.tallies.observe(
            "heddle.history.statements",
            "Statements sent to Cassandra; one that writes writes one row",
        );
        Ok(all)
    }

    /// Those of a table of the protocol.
    pub fn cells(&self, table: u8) -> Option<&CellStatements> {
        let table = Table::try_from(i32::from(table)).ok()?;
        let index = CELL_TABLES.iter().position(|(known, _)| *known == table)?;
        self.cells.get(index)
    }
}
