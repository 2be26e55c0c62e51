//! Two releases on one schema: a binary of the version before goes on while the next one works.
//!
//! The older one is here as its statements, word for word, prepared on its own schema and never
//! again, as those of a process that runs on.
//!
//! Invariant: they are of the version before [`VERSION`].

use heddle_proto::internal::{Commit, CommitStatus, Table};

use super::*;
use crate::cassandra::value::Applied;
use crate::cassandra::value::Value::{self, BigInt, Blob, Boolean, Int, Ints, Null, Text};
use crate::cassandra::{epoch::applied, migrate::migrate_to, schema::VERSION, tail::decode_all};
use crate::contract::{all_rows, batch, cells_of, commit, log, put, put_ok, rows_of, take, users};
use crate::{cassandra::record, leases::Leases, row};

/// Whoever adds a version writes here what binaries of the one before it send.
const OLDER: i32 = 4;
const ROW_WRITE: &str = "INSERT INTO {k}.log (log_id, bucket, first_seq, value) \
                         VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
const ROWS_DOWN: &str = "SELECT first_seq, value FROM {k}.log WHERE log_id = ? AND \
                         bucket = ? AND first_seq <= ? ORDER BY first_seq DESC LIMIT ?";
const EPOCH_RAISE: &str = "UPDATE {k}.shards SET epoch = ?, raised_by = ? WHERE \
                           shard_group = ? AND shard = ? IF epoch = ?";
const LEASE_WRITE: &str = "INSERT INTO {k}.nodes (pool, node, incarnation, ttl_ms, address, \
                           leaving, owned, cut_off) VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?";
const LEASES_READ: &str = "SELECT node, incarnation, ttl_ms, address, leaving, owned, cut_off, \
                           WRITETIME(ttl_ms), toUnixTimestamp(now()) FROM {k}.nodes \
                           WHERE pool = ?";
const NOTE_WRITE: &str = "INSERT INTO {k}.notes (partition, clustering, value) \
                          VALUES (?, ?, ?) USING TIMESTAMP ?";
const NOTE_DELETE: &str = "DELETE FROM {k}.notes USING TIMESTAMP ? WHERE partition = ? \
                           AND clustering = ?";
/// The lease of a chat node that renews at the older one.
const LEASE: [Value<'static>; 9] = [
    Int(0),
    Text("older"),
    BigInt(1),
    Int(60_000),
    Text("http://older:1"),
    Boolean(false),
    Ints(&[3]),
    Boolean(false),
    Int(62),
];

/// The shard goes from the older one to the newer one and back, while both are there.
pub async fn a_binary_of_the_version_before_works_on(driver: DynDriver) {
    assert_eq!(OLDER, VERSION - 1, "whose statements are these?");
    let Some(bench) = Bench::unmigrated(driver) else {
        return;
    };
    migrate_to(driver, &bench.config, OLDER).await.unwrap();
    let session = bench.session().await;
    let older = async |text: &str| {
        let text = text.replace("{k}", &bench.config.keyspace);
        session.prepare(&text).await.unwrap()
    };
    let (row_write, rows_down) = (older(ROW_WRITE).await, older(ROWS_DOWN).await);
    let (epoch_raise, lease_write) = (older(EPOCH_RAISE).await, older(LEASE_WRITE).await);
    let leases_read = older(LEASES_READ).await;
    let (note_write, note_delete) = (older(NOTE_WRITE).await, older(NOTE_DELETE).await);
    let older_takes = async |before: Value<'static>, epoch: i64| {
        let sets = [vec![BigInt(epoch), BigInt(77), Int(0), Int(0), before]];
        let mut told: Vec<Applied> = Vec::new();
        let raised = epoch_raise.run_conditionally(&sets, &mut told).await;
        assert!(raised.is_ok() && applied(&told), "{epoch}: {raised:?}");
    };
    let id = log(1).to_bytes();
    let older_writes = async |first_seq: u64, epoch: u64| {
        let record = take_over::record_of(epoch, first_seq, Commit::default());
        let row = record::encode(&row::key(&log(1), first_seq), &record);
        let (seq, stamp) = (BigInt(first_seq as i64), BigInt(record.stamp));
        let values = [Blob(&id), BigInt(0), seq, Blob(&row), stamp];
        row_write.run(&values, &mut NoRows).await.unwrap();
    };
    older_takes(Null, 1).await;
    older_writes(1, 1).await;
    lease_write.run(&LEASE, &mut NoRows).await.unwrap();
    let noted = [Blob(b"ann"), Blob(b"1"), Blob(b"noted"), BigInt(1)];
    note_write.run(&noted, &mut NoRows).await.unwrap();

    migrate(driver, &bench.config).await.unwrap();
    let opened = bench.open().await;
    let store = dynamic(&opened);
    assert_eq!(take(&store).await, 2);
    put_ok(&store, commit(1, 2, vec![batch(log(1), 2, 1)])).await;
    let lease = contract::leases::lease("newer", 1, 60_000);
    let live = opened.leases().renew(lease).await.unwrap();
    let owned: Vec<_> = live.iter().map(|it| it.owned.len()).collect();
    assert_eq!(owned, [0, 1], "of the newer and the older one");

    older_takes(BigInt(2), 3).await;
    let all = [Blob(&id), BigInt(0), BigInt(i64::MAX), Int(9)];
    let mut rows = Vec::new();
    rows_down.run(&all, &mut rows).await.unwrap();
    assert_eq!(decode_all(&log(1), rows).unwrap().len(), 2);
    leases_read.run(&LEASE[..1], &mut NoRows).await.unwrap();
    older_writes(3, 3).await;
    lease_write.run(&LEASE, &mut NoRows).await.unwrap();
    let gone = [BigInt(2), Blob(b"ann"), Blob(b"1")];
    note_delete.run(&gone, &mut NoRows).await.unwrap();

    let late = put(&store, commit(2, 2, vec![batch(log(1), 3, 1)])).await;
    assert_eq!(late.status(), CommitStatus::Fenced, "{}", late.message);
    assert_eq!(take(&store).await, 4);
    put_ok(&store, commit(3, 4, vec![batch(log(1), 4, 1)])).await;
    let (rows, _) = rows_of(&store, all_rows(log(1))).await;
    let epochs: Vec<_> = rows.iter().map(|row| row.epoch).collect();
    assert_eq!(epochs, [1, 2, 3, 4]);
    let mut notes = users("ann");
    notes.table = Table::Notes as u8;
    assert!(cells_of(&store, notes).await.0.is_empty());
    bench.remove().await;
}
