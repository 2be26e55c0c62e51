//! The contract of [`PresenceStore`], run over every backend.
//!
//! A backend's tests call [`hold`] with an empty store whose sessions live for [`TTL_MS`]. Users
//! are named apart, so that a backend may share one engine among all clauses.

use heddle_proto::internal::GatewayStatus;
use tokio::sync::broadcast::error::TryRecvError;

use crate::rules::{Facts, SessionKey, UserId};
use crate::store::{GATEWAY_TTL_MS, PresenceStore, Session, Setting, SpenderId, Spending};

pub const TTL_MS: u64 = 45_000;
const NOW_MS: u64 = 1_000_000;

/// Holds a backend to every clause of the law that needs no restart.
pub async fn hold(store: &dyn PresenceStore) {
    whoever_is_unknown_is_nobody(store).await;
    a_refresh_keeps_alive_for_the_ttl(store).await;
    the_longest_living_session_counts(store).await;
    gone_ends_its_own_session_only(store).await;
    late_and_repeated_reports_do_no_harm(store).await;
    settings_are_apart_from_sessions(store).await;
    a_lookup_answers_in_order(store).await;
    changes_name_who_changed(store).await;
    gateways_are_known_while_they_say_so(store).await;
    what_is_spent_adds_up(store).await;
}

pub fn session(user: &str, gateway: &str, session: u64) -> Session {
    let key = SessionKey {
        gateway: gateway.into(),
        session,
    };
    Session {
        user: user.into(),
        key,
    }
}

pub async fn facts(store: &dyn PresenceStore, user: &str) -> Facts {
    store.lookup(&[user.into()]).await.unwrap().remove(0)
}

/// Until when the user is online, and when last seen, both from [`NOW_MS`].
async fn times(store: &dyn PresenceStore, user: &str) -> (u64, u64) {
    let facts = facts(store, user).await;
    (facts.online_until_ms - NOW_MS, facts.last_seen_ms - NOW_MS)
}

async fn whoever_is_unknown_is_nobody(store: &dyn PresenceStore) {
    assert_eq!(facts(store, "unknown").await, Facts::default());
    store
        .gone(&[session("unknown", "g", 1)], NOW_MS)
        .await
        .unwrap();
    assert_eq!(facts(store, "unknown").await, Facts::default());
}

async fn a_refresh_keeps_alive_for_the_ttl(store: &dyn PresenceStore) {
    let one = [session("refreshed", "g", 1)];
    store.refresh(&one, NOW_MS).await.unwrap();
    assert_eq!(times(store, "refreshed").await, (TTL_MS, 0));
    store.refresh(&one, NOW_MS + 15_000).await.unwrap();
    assert_eq!(times(store, "refreshed").await, (TTL_MS + 15_000, 15_000));
}

async fn the_longest_living_session_counts(store: &dyn PresenceStore) {
    store
        .refresh(&[session("twice", "g", 1)], NOW_MS)
        .await
        .unwrap();
    store
        .refresh(&[session("twice", "h", 1)], NOW_MS + 10)
        .await
        .unwrap();
    assert_eq!(times(store, "twice").await, (TTL_MS + 10, 10));
    // One by TTL, the other by its word: the later end is when the user left.
    store
        .gone(&[session("twice", "h", 1)], NOW_MS + TTL_MS + 5)
        .await
        .unwrap();
    assert_eq!(times(store, "twice").await, (TTL_MS + 5, TTL_MS + 5));
}

async fn gone_ends_its_own_session_only(store: &dyn PresenceStore) {
    let both = [session("half", "g", 1), session("half", "h", 1)];
    store.refresh(&both, NOW_MS).await.unwrap();
    store.gone(&both[..1], NOW_MS + 1_000).await.unwrap();
    assert_eq!(times(store, "half").await, (TTL_MS, 1_000));
    store.gone(&both[1..], NOW_MS + 2_000).await.unwrap();
    assert_eq!(times(store, "half").await, (2_000, 2_000));
}

async fn late_and_repeated_reports_do_no_harm(store: &dyn PresenceStore) {
    let one = [session("late", "g", 1)];
    store.refresh(&one, NOW_MS + 5_000).await.unwrap();
    store.refresh(&one, NOW_MS + 1_000).await.unwrap();
    assert_eq!(times(store, "late").await, (TTL_MS + 5_000, 5_000));
    store.gone(&one, NOW_MS + 6_000).await.unwrap();
    store.gone(&one, NOW_MS + 9_000).await.unwrap();
    assert_eq!(times(store, "late").await, (6_000, 6_000));
}

async fn settings_are_apart_from_sessions(store: &dyn PresenceStore) {
    let user: UserId = "set".into();
    let settings = [
        Setting {
            user: user.clone(),
            status: "away".into(),
            hidden: false,
        },
        Setting {
            user: user.clone(),
            status: "at sea".into(),
            hidden: true,
        },
    ];
    store.set(&settings).await.unwrap();
    store
        .refresh(&[session("set", "g", 1)], NOW_MS)
        .await
        .unwrap();
    let known = facts(store, "set").await;
    assert_eq!(
        (&*known.status, known.hidden),
        ("at sea", true),
        "the last one of a batch holds"
    );
    assert_eq!(times(store, "set").await, (TTL_MS, 0));
}

async fn a_lookup_answers_in_order(store: &dyn PresenceStore) {
    let names = (0..300).map(|number| format!("order-{number}"));
    let users: Vec<UserId> = names.map(Into::into).collect();
    let odd = users
        .iter()
        .skip(1)
        .step_by(2)
        .map(|user| session(user, "g", 1));
    store
        .refresh(&odd.collect::<Vec<_>>(), NOW_MS)
        .await
        .unwrap();
    let found = store.lookup(&users).await.unwrap();
    assert_eq!(found.len(), users.len());
    let online = found.iter().map(|facts| facts.online_until_ms > 0);
    assert!(
        online
            .enumerate()
            .all(|(at, online)| online == (at % 2 == 1))
    );
    assert!(store.lookup(&[]).await.unwrap().is_empty());
}

async fn gateways_are_known_while_they_say_so(store: &dyn PresenceStore) {
    let status = |address: &str, sessions| GatewayStatus {
        address: address.into(),
        region: "here".into(),
        sessions,
        sessions_max: 10,
        ..GatewayStatus::default()
    };
    let known = async |now_ms| {
        let mut known = store.gateways(now_ms).await.unwrap();
        known.sort_by(|one, other| one.address.cmp(&other.address));
        known
    };
    let later_ms = NOW_MS + GATEWAY_TTL_MS - 1;
    store
        .announce(&status("http://a", 1), NOW_MS)
        .await
        .unwrap();
    store
        .announce(&status("http://b", 2), NOW_MS)
        .await
        .unwrap();
    store
        .announce(&status("http://b", 3), later_ms)
        .await
        .unwrap();
    let both = [status("http://a", 1), status("http://b", 3)];
    assert_eq!(known(later_ms).await, both);
    assert_eq!(known(later_ms + 2).await, both[1..]);
    assert_eq!(known(later_ms + GATEWAY_TTL_MS).await, []);
    // Two behind one address, each by its id; what one says anew replaces its own word alone.
    let much_later_ms = later_ms + 2 * GATEWAY_TTL_MS;
    let behind = |gateway_id: &str, sessions| GatewayStatus {
        gateway_id: gateway_id.into(),
        ..status("http://balancer", sessions)
    };
    for gateway in [behind("1", 1), behind("2", 2), behind("1", 3)] {
        store.announce(&gateway, much_later_ms).await.unwrap();
    }
    let mut living = known(much_later_ms).await;
    living.sort_by(|one, other| one.gateway_id.cmp(&other.gateway_id));
    assert_eq!(living, [behind("1", 3), behind("2", 2)]);
}

pub fn spent(user: u16, calls: u32) -> Spending {
    let mut id = SpenderId::default();
    id[..2].copy_from_slice(&user.to_be_bytes());
    Spending { user: id, calls }
}

async fn what_is_spent_adds_up(store: &dyn PresenceStore) {
    let spend = async |spending: &[Spending]| store.spend(spending, NOW_MS).await.unwrap();
    assert_eq!(spend(&[]).await, [0u64; 0]);
    assert_eq!(spend(&[spent(1, 3), spent(2, 5)]).await, [3, 5]);
    let again = [spent(2, 1), spent(1, 0), spent(2, u32::MAX)];
    let much = 6 + u64::from(u32::MAX);
    assert_eq!(spend(&again).await, [6, 3, much], "one after the other");
    let many: Vec<_> = (0..700)
        .map(|user| spent(100 + user, user.into()))
        .collect();
    let totals: Vec<u64> = (0..700).collect();
    assert_eq!(spend(&many).await, totals);
    let twice: Vec<u64> = totals.iter().map(|calls| 2 * calls).collect();
    assert_eq!(spend(&many).await, twice);
}

async fn changes_name_who_changed(store: &dyn PresenceStore) {
    let mut changes = store.changes();
    let one = [session("changed", "g", 1)];
    let mut hinted = async |what: &str| {
        let waiting = async {
            while !changes
                .recv()
                .await
                .unwrap()
                .iter()
                .any(|user| &**user == "changed")
            {}
        };
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await;
        assert!(waiting.is_ok(), "no hint when {what}");
    };
    store.refresh(&one, NOW_MS).await.unwrap();
    hinted("the user came").await;
    store.gone(&one, NOW_MS + 1).await.unwrap();
    hinted("the user left").await;
    let setting = Setting {
        user: "changed".into(),
        status: "x".into(),
        hidden: false,
    };
    store.set(&[setting]).await.unwrap();
    hinted("the status changed").await;
    assert!(
        matches!(changes.try_recv(), Err(TryRecvError::Empty)),
        "nothing else changed"
    );
}
