//! The contracts of the event store and of leases, on a node.

use std::sync::atomic::{AtomicU8, Ordering};

use futures_util::future::BoxFuture;
use heddle_proto::internal::{LeaseRequest, LiveNode};

use super::*;
use crate::cassandra::leases::LeasesOnCassandra;
use crate::leases::{LeaseError, Leases};

pub async fn it_keeps_the_law(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    let (store, count) = (bench.open().await, AtomicU8::new(0));
    contract::suite(async || {
        let number = count.fetch_add(1, Ordering::SeqCst);
        Arc::new(scoped::Scoped::new(store.clone(), number)) as contract::Store
    })
    .await;
    bench.remove().await;
}

pub async fn leases_keep_the_law(driver: DynDriver) {
    let Some(bench) = Bench::new(driver).await else {
        return;
    };
    // Renewed through one history-svc, seen through another.
    let (one, other, count) = (bench.open().await, bench.open().await, AtomicU8::new(0));
    contract::leases::suite(async || {
        let pool = i32::from(count.fetch_add(1, Ordering::SeqCst)) + 1;
        let of = |store: &Arc<CassandraStore>| {
            let db = store.inner().db.clone();
            LeasesOnCassandra::new(db, pool, contract::leases::NODES_MAX)
        };
        Box::new(InTurn(of(&one), of(&other), AtomicU8::new(0))) as _
    })
    .await;
    bench.remove().await;
}

/// Each call goes to another history-svc than the one before.
struct InTurn(LeasesOnCassandra, LeasesOnCassandra, AtomicU8);

impl Leases for InTurn {
    fn renew(&self, lease: LeaseRequest) -> BoxFuture<'static, Result<Vec<LiveNode>, LeaseError>> {
        match self.2.fetch_add(1, Ordering::SeqCst) % 2 {
            0 => self.0.renew(lease),
            _ => self.1.renew(lease),
        }
    }
}
