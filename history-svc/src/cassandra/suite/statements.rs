//! Every statement that a store has prepared, as the node lists them: explicit timestamps. And what
//! is sent is counted, row by row.

use heddle_proto::internal::{Blank, Cell, Table};

use super::*;
use crate::cassandra::schema::CELL_TABLES;
use crate::cassandra::session::ask;
use crate::contract::{all_rows, batch, commit, log, put_ok, rows_of as read_rows, take};

/// What the node has prepared for this keyspace.
async fn prepared(bench: &Bench) -> Vec<String> {
    let session = bench.session().await;
    let text = "SELECT query_string FROM system.prepared_statements";
    let all: Vec<(String,)> = ask(&*session, text, &[]).await.unwrap();
    let own = format!("{}.", bench.config.keyspace);
    let texts = all.into_iter().map(|(text,)| text);
    texts.filter(|text| text.contains(&own)).collect()
}

pub async fn no_write_is_without_an_explicit_timestamp(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    let store = dynamic(&bench.open().await);
    let epoch = take(&store).await;
    let mut all = commit(1, epoch, vec![batch(log(1), 1, 3)]);
    all.blanks.push(Blank {
        log_id: log(1).to_bytes(),
        seq: 2,
    });
    let cells = CELL_TABLES.iter().flat_map(|(table, _)| {
        [false, true].map(|delete| Cell {
            table: i32::from(*table),
            partition: log(1).to_bytes(),
            delete,
            ..Cell::default()
        })
    });
    all.cells.extend(cells);
    put_ok(&store, all).await;
    read_rows(&store, all_rows(log(1))).await;

    let statements = prepared(&bench).await;
    let (mut writes, mut conditional, mut leases) = (0, 0, 0);
    for text in &statements {
        let upper = text.to_ascii_uppercase();
        if upper.starts_with("SELECT") {
            continue;
        }
        if text.contains(&format!("{}.shards ", bench.config.keyspace)) {
            assert!(
                upper.contains(" IF EPOCH = ?"),
                "a plain write of an epoch: {text}"
            );
            conditional += 1;
        } else if text.contains(&format!("{}.nodes ", bench.config.keyspace)) {
            assert!(!upper.contains("TIMESTAMP"), "a lease's age: {text}");
            leases += 1;
        } else if !text.contains(".schema_") {
            assert!(upper.contains("USING TIMESTAMP ?"), "no timestamp: {text}");
            assert!(!upper.contains(" IF "), "conditional: {text}");
            writes += 1;
        }
    }
    // Rows, anchors, and two for each table of cells.
    assert_eq!(
        (writes, conditional, leases),
        (2 + 2 * CELL_TABLES.len(), 1, 2),
        "{statements:#?}"
    );
    every_cell_has_the_epochs_timestamp(&bench, epoch).await;
    bench.remove().await;
}

pub async fn what_is_sent_is_counted(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    let opened = bench.open().await;
    let (store, statements) = (dynamic(&opened), &opened.inner().db.statements);
    let epoch = take(&store).await;
    let before = statements.epochs_read.sent.count();
    let mut two = commit(1, epoch, vec![batch(log(1), 1, 3), batch(log(2), 1, 2)]);
    two.cells.push(Cell {
        table: Table::Members.into(),
        partition: log(1).to_bytes(),
        ..Cell::default()
    });
    put_ok(&store, two).await;

    let cells = statements.cells(Table::Members as u8).unwrap();
    let sent = [
        &statements.epoch_raise,
        &statements.row_write,
        &statements.anchor_read,
        &statements.anchor_write,
        &cells.write,
        &cells.delete,
    ];
    let sent = sent.map(|statement| statement.sent.count());
    assert_eq!(sent, [1, 2, 2, 0, 1, 0]);
    assert_eq!(statements.epochs_read.sent.count(), before + 1);
    a_note_is_left_to_expire(&bench, &store, epoch).await;
    let notes = statements.cells(Table::Notes as u8).unwrap();
    let sent = [&notes.write, &notes.delete].map(|statement| statement.sent.count());
    assert_eq!(sent, [1, 0]);
    bench.remove().await;
}

/// Its delete is taken and not sent, and the node knows when the note ends.
async fn a_note_is_left_to_expire(bench: &Bench, store: &contract::Store, epoch: u64) {
    for delete in [false, true] {
        let mut noted = commit(1, epoch, Vec::new());
        noted.cells.push(Cell {
            table: Table::Notes.into(),
            partition: log(1).to_bytes(),
            delete,
            ..Cell::default()
        });
        put_ok(store, noted).await;
    }
    let session = bench.session().await;
    let text = format!("SELECT TTL(value) FROM {}.notes", bench.config.keyspace);
    let left: Vec<(Option<i32>,)> = ask(&*session, &text, &[]).await.unwrap();
    let [(Some(left_s),)] = left[..] else {
        panic!("{left:?}")
    };
    assert!(left_s > 9 * 86_400, "{left_s} s");
}

/// What the node holds was written at epoch * 2^32 and a bit, not at some clock's time.
async fn every_cell_has_the_epochs_timestamp(bench: &Bench, epoch: u64) {
    let session = bench.session().await;
    let keyspace = &bench.config.keyspace;
    let tables = CELL_TABLES.iter().map(|(table, name)| (*table, *name));
    for (table, name) in tables.chain([(Table::Unspecified, "log")]) {
        let text = format!("SELECT WRITETIME(value) FROM {keyspace}.{name}");
        let times: Vec<(Option<i64>,)> = ask(&*session, &text, &[]).await.unwrap();
        for (time,) in times {
            let time = time.unwrap() as u64;
            assert_eq!(time >> 32, epoch, "{table:?}: {time}");
        }
    }
}
