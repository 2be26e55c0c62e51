//! What a start refuses, and migrations that run at once.

use super::*;
use crate::cassandra::session::ConnectError;
use crate::cassandra::{migrate, preflight};
use crate::contract::{batch, commit, log, put_ok, take};

fn refusal(opened: Result<CassandraStore, ConnectError>) -> String {
    opened.err().unwrap().to_string()
}

pub async fn migrations_that_run_at_once_make_one_schema(driver: DynDriver) {
    let Some(bench) = Bench::unmigrated(driver) else {
        return;
    };
    let early = CassandraStore::open(driver, &bench.config, &bench.tasks).await;
    let early = early.err().unwrap();
    assert!(early.may_pass(), "a schema may still come: {early}");
    assert!(early.to_string().contains("history-svc migrate"), "{early}");
    let (first, second) = tokio::join!(
        migrate::migrate(driver, &bench.config),
        migrate::migrate(driver, &bench.config)
    );
    assert_eq!(first.unwrap(), second.unwrap());
    let store = dynamic(&bench.open().await);
    assert_eq!(take(&store).await, 1);
    bench.remove().await;
}

pub async fn what_may_lose_an_ok_is_refused_unless_accepted_by_name(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    let strict = CassandraConfig {
        accept_low_replication: false,
        ..bench.config.clone()
    };
    let few = refusal(CassandraStore::open(driver, &strict, &bench.tasks).await);
    assert!(few.contains("accept_low_replication"), "{few}");

    let session = bench.session().await;
    let pin = format!(
        "UPDATE {}.schema_settings SET value = 'elsewhere' WHERE name = 'datacenter' IF EXISTS",
        bench.config.keyspace
    );
    session.query(&pin, &[], &mut NoRows).await.unwrap();
    let foreign = refusal(CassandraStore::open(driver, &bench.config, &bench.tasks).await);
    assert!(foreign.contains("elsewhere"), "{foreign}");
    assert!(foreign.contains("accept_foreign_datacenter"), "{foreign}");
    let accepting = CassandraConfig {
        accept_foreign_datacenter: true,
        ..bench.config.clone()
    };
    preflight::check(&*session, &accepting).await.unwrap();
    bench.remove().await;
}

pub async fn logs_without_epochs_are_not_served(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    let store = dynamic(&bench.open().await);
    let epoch = take(&store).await;
    put_ok(&store, commit(1, epoch, vec![batch(log(1), 1, 1)])).await;
    let session = bench.session().await;
    let empty = format!("TRUNCATE {}.shards", bench.config.keyspace);
    session.query(&empty, &[], &mut NoRows).await.unwrap();
    let refused = refusal(CassandraStore::open(driver, &bench.config, &bench.tasks).await);
    assert!(refused.contains("no epochs"), "{refused}");
    bench.remove().await;
}
