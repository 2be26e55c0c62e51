//! The Redis store over real servers: the contract, what dies and comes back, and who hears of it.

use redis::cmd;
use tokio::sync::broadcast::Receiver;

use super::server::{SOON, Server, cluster, config, installed, until};
use super::*;
use crate::contract::{TTL_MS, facts, hold, session, spent};
use crate::store::SPENT_TTL_MS;

const NOW_MS: u64 = 1_000_000;

pub async fn store(config: &PresenceConfig) -> (RedisPresence, Tasks) {
    // As a process does when it begins.
    heddle_kit::tls::install_crypto_provider();
    let tasks = Tasks::new("test");
    let store = RedisPresence::start(config, &tasks).unwrap();
    tokio::time::timeout(SOON, store.ready()).await.unwrap();
    (store, tasks)
}

fn setting(user: &str, status: &str) -> Setting {
    Setting {
        user: user.into(),
        status: status.into(),
        hidden: false,
    }
}

async fn hinted(hints: &mut Receiver<Hint>, user: &str) {
    let named = async { while !hints.recv().await.unwrap().iter().any(|id| &**id == user) {} };
    let waited = tokio::time::timeout(SOON, named).await;
    assert!(waited.is_ok(), "no hint of {user}");
}

#[tokio::test]
async fn holds_the_contract() {
    let Some(server) = Server::start().await else {
        return;
    };
    hold(&store(&server.config()).await.0).await;
}

#[tokio::test]
async fn holds_the_contract_with_small_commands_over_tls() {
    let Some(server) = Server::start_tls().await else {
        return;
    };
    let mut config = server.config();
    config.redis_users_at_once_max = 3;
    hold(&store(&config).await.0).await;
}

#[tokio::test]
async fn holds_the_contract_in_a_cluster() {
    let Some(servers) = cluster().await else {
        return;
    };
    // One URL is enough to find the others.
    let mut config = servers[1].config();
    config.redis_cluster = true;
    hold(&store(&config).await.0).await;
    for server in &servers {
        let keys: u64 = server.ask(&cmd("DBSIZE")).await;
        assert!(keys > 20, "each node has its share: {keys}");
    }
}

#[tokio::test]
async fn hints_reach_other_processes() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (one, _tasks) = store(&server.config()).await;
    let (other, _tasks) = store(&server.config()).await;
    let mut hints = other.changes();
    one.refresh(&[session("ann", "g", 1)], NOW_MS)
        .await
        .unwrap();
    hinted(&mut hints, "ann").await;
    one.refresh(&[session("ann", "g", 1)], NOW_MS + 1)
        .await
        .unwrap();
    one.gone(&[session("bob", "g", 1)], NOW_MS + 1)
        .await
        .unwrap();
    one.set(&[setting("eve", "here")]).await.unwrap();
    let next = tokio::time::timeout(SOON, hints.recv()).await.unwrap();
    assert_eq!(
        *next.unwrap(),
        [UserId::from("eve")],
        "ann only stayed, bob never came"
    );
}

#[tokio::test]
async fn what_was_set_and_hints_outlive_a_killed_redis() {
    let Some(mut server) = Server::start().await else {
        return;
    };
    let mut config = server.config();
    config.redis_response_timeout_ms = 1_000;
    let (one, _tasks) = store(&config).await;
    let (other, _tasks) = store(&config).await;
    one.set(&[setting("ann", "at sea")]).await.unwrap();
    one.refresh(&[session("ann", "g", 1)], NOW_MS)
        .await
        .unwrap();
    // What is written reaches the file within a second; this is one way to wait for it.
    server
        .ask::<()>(cmd("CONFIG").arg("SET").arg("appendfsync").arg("always"))
        .await;
    one.set(&[setting("bob", "ashore")]).await.unwrap();
    let mut hints = other.changes();
    server.kill();
    until("calls fail", async || {
        one.lookup(&["ann".into()]).await.is_err()
    })
    .await;
    assert!(
        one.refresh(&[session("ann", "g", 1)], NOW_MS)
            .await
            .is_err()
    );
    server.run().await;
    until("calls work again", async || {
        other.lookup(&["ann".into()]).await.is_ok()
    })
    .await;
    until("calls work again", async || {
        one.lookup(&["ann".into()]).await.is_ok()
    })
    .await;
    let known = facts(&one, "ann").await;
    assert_eq!(
        (&*known.status, known.online_until_ms),
        ("at sea", NOW_MS + TTL_MS)
    );
    one.refresh(&[session("eve", "g", 1)], NOW_MS)
        .await
        .unwrap();
    hinted(&mut hints, "eve").await;
}

#[tokio::test]
async fn a_dead_gateways_sessions_end_and_redis_forgets_them() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (store, _tasks) = store(&server.config()).await;
    store
        .refresh(&[session("ann", "dead", 1)], NOW_MS)
        .await
        .unwrap();
    store
        .set(&[setting("ann", "x"), setting("bob", "y")])
        .await
        .unwrap();
    let timing = store.timing;
    let online = async |now_ms| facts(&store, "ann").await.view(now_ms, timing).online;
    let ends_ms = NOW_MS + timing.ttl_ms + timing.grace_ms;
    assert!(online(ends_ms - 1).await && !online(ends_ms).await);
    let left_ms: i64 = server.ask(cmd("PTTL").arg(life_key("ann"))).await;
    let keep_ms = i64::try_from(store.keep_ms).unwrap();
    assert!((keep_ms - 60_000..=keep_ms).contains(&left_ms), "{left_ms}");
    // Settings never end by themselves; what is not set is no key.
    let left_ms: i64 = server.ask(cmd("PTTL").arg(setting_key("ann"))).await;
    store.set(&[setting("bob", "")]).await.unwrap();
    let kept: bool = server.ask(cmd("EXISTS").arg(setting_key("bob"))).await;
    assert_eq!((left_ms, kept), (-1, false));
}

#[tokio::test]
async fn processes_count_together_and_counters_end_by_themselves() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (one, _tasks) = store(&server.config()).await;
    let (other, _tasks) = store(&server.config()).await;
    assert_eq!(one.spend(&[spent(7, 3)], NOW_MS).await.unwrap(), [3]);
    assert_eq!(other.spend(&[spent(7, 4)], NOW_MS).await.unwrap(), [7]);
    let keys: Vec<String> = server.ask(cmd("KEYS").arg("heddle:s:*")).await;
    assert_eq!(keys.len(), 1, "{keys:?}");
    let left_ms: i64 = server.ask(cmd("PTTL").arg(&keys[0])).await;
    assert!((1..=SPENT_TTL_MS as i64).contains(&left_ms), "{left_ms}");
}

/// Many processes report sessions of one user at the same time; none is lost.
#[tokio::test]
async fn no_report_of_a_user_overwrites_another() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (one, _tasks) = store(&server.config()).await;
    let (other, _tasks) = store(&server.config()).await;
    for round in 0..20 {
        let (g, h) = ([session("ann", "g", round)], [session("ann", "h", round)]);
        let (left, right) = tokio::join!(one.refresh(&g, NOW_MS), other.refresh(&h, NOW_MS));
        left.and(right).unwrap();
    }
    let life: Vec<u8> = server.ask(cmd("GET").arg(life_key("ann"))).await;
    assert_eq!(saved::life(&life).sessions().len(), 40);
}

#[tokio::test]
async fn with_several_urls_the_master_is_found_and_found_again() {
    let Some(mut master) = Server::start().await else {
        return;
    };
    let Some(replica) = Server::start().await else {
        return;
    };
    let follow = |host: &str, port: &str| cmd("REPLICAOF").arg(host).arg(port).to_owned();
    replica
        .ask::<()>(&follow("127.0.0.1", &master.port.to_string()))
        .await;
    let (store, _tasks) = store(&config(&[&replica, &master])).await;
    store.set(&[setting("ann", "at sea")]).await.unwrap();
    until("the replica follows", async || {
        replica
            .ask::<bool>(cmd("EXISTS").arg(setting_key("ann")))
            .await
    })
    .await;
    master.kill();
    until("calls fail", async || {
        store.lookup(&["ann".into()]).await.is_err()
    })
    .await;
    replica.ask::<()>(&follow("NO", "ONE")).await;
    until("calls work again", async || {
        store.set(&[setting("bob", "x")]).await.is_ok()
    })
    .await;
    assert_eq!(&*facts(&store, "ann").await.status, "at sea");
}

/// A master that is made a replica while presence is connected to it.
#[tokio::test]
async fn a_demoted_master_is_left() {
    let Some(old) = Server::start().await else {
        return;
    };
    let Some(new) = Server::start().await else {
        return;
    };
    let (store, _tasks) = store(&config(&[&old, &new])).await;
    store.set(&[setting("ann", "at sea")]).await.unwrap();
    let mut follow = cmd("REPLICAOF");
    old.ask::<()>(follow.arg("127.0.0.1").arg(new.port)).await;
    until("writes go to the new one", async || {
        let written = store.set(&[setting("ann", "ashore")]).await.is_ok();
        written && new.ask::<bool>(cmd("EXISTS").arg(setting_key("ann"))).await
    })
    .await;
}

#[tokio::test]
async fn presence_opens_before_redis_and_waits_for_it() {
    if installed().is_none() {
        return;
    }
    let mut server = Server::prepared(&[]);
    let tasks = Tasks::new("test");
    let clock = heddle_kit::ManualClock::at(NOW_MS);
    let service = crate::PresenceService::open(server.config(), clock, &tasks)
        .await
        .unwrap();
    let early = tokio::time::timeout(std::time::Duration::from_millis(100), service.ready()).await;
    assert!(early.is_err(), "ready without Redis");
    server.run().await;
    tokio::time::timeout(SOON, service.ready()).await.unwrap();
    assert_eq!(tasks.drain(SOON).await, 0);
}

/// The law's bound: Redis's own memory, with the policy that the keeper asks for.
#[tokio::test]
async fn a_full_redis_forgets_who_was_seen_least_recently_and_no_settings() {
    let options = ["--maxmemory", "4mb", "--maxmemory-policy", "volatile-ttl"];
    let Some(server) = Server::start_with(&options).await else {
        return;
    };
    let (store, _tasks) = store(&server.config()).await;
    store.set(&[setting("ann", "at sea")]).await.unwrap();
    let users: Vec<UserId> = (0..30_000).map(|at| format!("user-{at}").into()).collect();
    for users in users.chunks(500) {
        let sessions: Vec<_> = users.iter().map(|user| session(user, "g", 1)).collect();
        store.refresh(&sessions, NOW_MS).await.unwrap();
    }
    let known = async |users: &[UserId]| {
        let facts = store.lookup(users).await.unwrap();
        facts.iter().filter(|facts| facts.last_seen_ms > 0).count()
    };
    let (first, last) = (known(&users[..1_000]).await, known(&users[29_000..]).await);
    assert!(
        first < 100 && last > 900,
        "{first} of the first, {last} of the last"
    );
    assert_eq!(&*facts(&store, "ann").await.status, "at sea");
    // When all have settings, new users are not taken.
    let settings: Vec<_> = users.iter().map(|user| setting(user, "here")).collect();
    assert!(store.set(&settings).await.is_err());
    assert_eq!(&*facts(&store, "ann").await.status, "at sea");
}

/// The client library finds a killed node again when it is back, hints included.
#[tokio::test]
async fn a_cluster_recovers_with_each_of_its_nodes() {
    let Some(mut servers) = cluster().await else {
        return;
    };
    let mut config = config(&servers.iter().collect::<Vec<_>>());
    config.redis_cluster = true;
    config.redis_response_timeout_ms = 1_000;
    let (one, _tasks) = store(&config).await;
    let (other, _tasks) = store(&config).await;
    let everybody: Vec<UserId> = (0..300).map(|at| format!("user-{at}").into()).collect();
    let mut hints = other.changes();
    for (round, killed) in (0..servers.len()).enumerate() {
        servers[killed].kill();
        let works = async || one.lookup(&everybody).await.is_ok();
        until("calls fail", async || !works().await).await;
        servers[killed].run().await;
        until("calls work again", works).await;
        let name = format!("after-{round}");
        until("hints come again", async || {
            let status = setting(&name, "here");
            one.set(&[status]).await.unwrap_or_default();
            let hint = tokio::time::timeout(std::time::Duration::from_millis(100), hints.recv());
            matches!(hint.await, Ok(Ok(users)) if users.contains(&UserId::from(&*name)))
        })
        .await;
    }
}

#[tokio::test]
async fn a_silent_redis_holds_nobody_up_and_is_taken_up_again() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut config = server.config();
    config.redis_response_timeout_ms = 300;
    config.redis_connect_timeout_ms = 300;
    let (store, _tasks) = store(&config).await;
    let mut hints = store.changes();
    server.freeze(true);
    let users = ["ann".into()];
    let call = store.lookup(&users);
    let call = tokio::time::timeout(SOON, call).await;
    assert!(call.expect("the call waits").is_err());
    server.freeze(false);
    until("calls work again", async || {
        store.set(&[setting("ann", "here")]).await.is_ok()
    })
    .await;
    hinted(&mut hints, "ann").await;
}
