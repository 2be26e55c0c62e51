//! Every statement of the data path, in one place, prepared once.
//!
//! Invariant: a write to a log's tables names its timestamp. Epochs are written conditionally, and
//! by nothing else. Leases alone have the time of the node that takes them: their age is measured
//! by it.

use heddle_proto::internal::Table;

use super::driver::{Prepared, Session};
use super::schema::CELL_TABLES;
use super::session::ConnectError;

/// One of them.
type Statement = Box<dyn Prepared>;

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
    pub const CELL_WRITE: &str = "INSERT INTO {k}.{t} (partition, clustering, value) \
                                  VALUES (?, ?, ?) USING TIMESTAMP ?";
    pub const CELL_DELETE: &str = "DELETE FROM {k}.{t} USING TIMESTAMP ? WHERE partition = ? \
                                   AND clustering = ?";
    pub const CELLS_FROM: &str = "SELECT clustering, value FROM {k}.{t} WHERE partition = ? AND \
                                  clustering >= ? LIMIT ?";
    pub const CELLS_BETWEEN: &str = "SELECT clustering, value FROM {k}.{t} WHERE partition = ? \
                                     AND clustering >= ? AND clustering < ? LIMIT ?";
}

impl Statements {
    /// Prepares all of them.
    pub async fn prepare(session: &dyn Session, keyspace: &str) -> Result<Self, ConnectError> {
        let plain = async |text: &str| prepare(session, &text.replace("{k}", keyspace)).await;
        let mut cells = Vec::with_capacity(CELL_TABLES.len());
        for (_, table) in CELL_TABLES {
            let of_table = async |text: &str| plain(&text.replace("{t}", table)).await;
            cells.push(CellStatements {
                write: of_table(text::CELL_WRITE).await?,
                delete: of_table(text::CELL_DELETE).await?,
                from: of_table(text::CELLS_FROM).await?,
                between: of_table(text::CELLS_BETWEEN).await?,
            });
        }
        Ok(Self {
            row_write: plain(text::ROW_WRITE).await?,
            rows_down: plain(text::ROWS_DOWN).await?,
            rows_up: plain(text::ROWS_UP).await?,
            anchor_write: plain(text::ANCHOR_WRITE).await?,
            anchor_read: plain(text::ANCHOR_READ).await?,
            epoch_raise: plain(text::EPOCH_RAISE).await?,
            epochs_read: plain(text::EPOCHS_READ).await?,
            any_shard: plain(text::ANY_SHARD).await?,
            any_row: plain(text::ANY_ROW).await?,
            lease_write: plain(text::LEASE_WRITE).await?,
            lease_end: plain(text::LEASE_END).await?,
            leases_read: plain(text::LEASES_READ).await?,
            cells,
        })
    }

    /// Those of a table of the protocol.
    pub fn cells(&self, table: u8) -> Option<&CellStatements> {
        let table = Table::try_from(i32::from(table)).ok()?;
        let index = CELL_TABLES.iter().position(|(known, _)| *known == table)?;
        self.cells.get(index)
    }
}

async fn prepare(session: &dyn Session, text: &str) -> Result<Statement, ConnectError> {
    session.prepare(text).await.map_err(ConnectError::Prepare)
}
