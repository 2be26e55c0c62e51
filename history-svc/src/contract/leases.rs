//! The law of [`Leases`] as tests, for every backend.

use std::time::{Duration, Instant};

use heddle_proto::internal::LeaseRequest;

use crate::leases::{LeaseError, Leases};

/// Short, since a test waits for its end.
const SHORT_MS: u32 = 700;
const LONG_MS: u32 = 60_000;
const PATIENCE: Duration = Duration::from_secs(30);
/// Nodes at most, in what `make` makes.
pub const NODES_MAX: usize = 3;

pub type Store = Box<dyn Leases>;

/// Runs everything, each on leases of its own.
pub async fn suite<F: AsyncFn() -> Store>(make: F) {
    all_find_a_node_as_it_described_itself(make().await).await;
    a_lease_lasts_its_time_and_no_longer(make().await).await;
    the_greatest_incarnation_counts(make().await).await;
    one_too_many_is_refused(make().await).await;
    logs_lie_in_one_number_of_shards(make().await).await;
}

pub fn lease(node: &str, incarnation: u64, ttl_ms: u32) -> LeaseRequest {
    LeaseRequest {
        node: node.into(),
        incarnation,
        ttl_ms,
        ..Default::default()
    }
}

/// Who is there, as somebody sees it who has no lease.
async fn seen(leases: &Store) -> Vec<(String, u64)> {
    renew(leases, "observer", 0, 0).await
}

async fn renew(leases: &Store, node: &str, incarnation: u64, ttl_ms: u32) -> Vec<(String, u64)> {
    let nodes = leases
        .renew(lease(node, incarnation, ttl_ms))
        .await
        .unwrap();
    nodes
        .into_iter()
        .map(|node| (node.node, node.incarnation))
        .collect()
}

fn pairs(named: &[(&str, u64)]) -> Vec<(String, u64)> {
    let owned = |(name, incarnation): &(&str, u64)| ((*name).to_owned(), *incarnation);
    named.iter().map(owned).collect()
}

async fn all_find_a_node_as_it_described_itself(leases: Store) {
    assert_eq!(seen(&leases).await, []);
    let mut described = LeaseRequest {
        address: "http://b:1".into(),
        owned: vec![3, 1_000],
        ..lease("b", 1, LONG_MS)
    };
    leases.renew(described.clone()).await.unwrap();
    assert_eq!(
        renew(&leases, "a", 1, LONG_MS).await,
        pairs(&[("a", 1), ("b", 1)])
    );
    described.leaving = true;
    described.cut_off = true;
    described.owned = Vec::new();
    described.address = "http://b:2".into();
    let found = leases.renew(described).await.unwrap();
    let b = found.iter().find(|node| node.node == "b").unwrap();
    assert_eq!(
        (b.address.as_str(), b.leaving, b.cut_off, b.owned.as_slice()),
        ("http://b:2", true, true, [].as_slice())
    );
    assert_eq!(renew(&leases, "b", 1, 0).await, pairs(&[("a", 1)]));
}

async fn a_lease_lasts_its_time_and_no_longer(leases: Store) {
    let asked = Instant::now();
    renew(&leases, "short", 1, SHORT_MS).await;
    renew(&leases, "long", 1, LONG_MS).await;
    let answered = Instant::now();
    while seen(&leases).await.len() == 2 {
        assert!(answered.elapsed() < PATIENCE, "it never ends");
    }
    // Two readings of the store's clock may differ by a hair.
    let lasted_ms = asked.elapsed().as_millis() + 50;
    assert!(lasted_ms >= u128::from(SHORT_MS), "after {lasted_ms} ms");
    assert_eq!(seen(&leases).await, pairs(&[("long", 1)]));
    // Renewed in time it goes on.
    for _ in 0..3 {
        renew(&leases, "short", 1, LONG_MS).await;
    }
    assert_eq!(seen(&leases).await.len(), 2);
}

async fn the_greatest_incarnation_counts(leases: Store) {
    renew(&leases, "a", 1, LONG_MS).await;
    assert_eq!(renew(&leases, "a", 2, LONG_MS).await, pairs(&[("a", 2)]));
    for ttl_ms in [LONG_MS, 0] {
        let former = leases.renew(lease("a", 1, ttl_ms)).await;
        assert!(
            matches!(former, Err(LeaseError::Superseded(_))),
            "{former:?}"
        );
    }
    assert_eq!(seen(&leases).await, pairs(&[("a", 2)]));
    // Its lease over, a name is free again; what the former self asked for meanwhile is no lease.
    renew(&leases, "a", 2, 0).await;
    assert_eq!(seen(&leases).await, []);
}

async fn one_too_many_is_refused(leases: Store) {
    for (node, incarnation) in [("d", 1), ("c", 2), ("b", 3)] {
        renew(&leases, node, incarnation, LONG_MS).await;
    }
    let refused = leases.renew(lease("a", 4, LONG_MS)).await;
    assert!(matches!(refused, Err(LeaseError::TooMany)), "{refused:?}");
    let there = pairs(&[("b", 3), ("c", 2), ("d", 1)]);
    assert_eq!(renew(&leases, "d", 1, LONG_MS).await, there);
    renew(&leases, "c", 2, 0).await;
    assert_eq!(renew(&leases, "a", 4, LONG_MS).await.len(), NODES_MAX);
}

async fn logs_lie_in_one_number_of_shards(leases: Store) {
    let spread = |node: &str, shard_count| LeaseRequest {
        shard_count,
        ..lease(node, 1, LONG_MS)
    };
    leases.renew(spread("a", 16)).await.unwrap();
    leases.renew(spread("b", 16)).await.unwrap();
    for _ in 0..2 {
        let refused = leases.renew(spread("c", 32)).await;
        let shards = matches!(
            refused,
            Err(LeaseError::Shards {
                asked: 32,
                here: 16
            })
        );
        assert!(shards, "{refused:?}");
    }
    // One of an older build does not say.
    let all = leases.renew(spread("c", 0)).await.unwrap();
    assert_eq!(all.len(), 3);
}
