//! Presence over local links, as gateways use it.

#[path = "service_bench.rs"]
mod bench;

use heddle_proto::internal::{SessionState, SpentTotal};
use heddle_proto::v1::Presence;

use super::*;
use crate::store::GATEWAY_TTL_MS;
use bench::{NOW_MS, SOON, World};

#[tokio::test]
async fn watchers_on_another_gateway_hear_of_coming_and_leaving() {
    let world = World::new(|_| {}).await;
    let (home, mut away) = (world.gateway("home").await, world.gateway("away").await);
    away.watch("ann", true);
    assert!(!away.news().await.online, "the state of now comes first");
    home.report("ann", 1, SessionState::Foreground);
    assert!(away.news().await.online);
    world.clock.advance(1_000);
    home.report("ann", 1, SessionState::Gone);
    assert!(away.ask("ann").await.online, "within the grace");
    world.clock.advance(5_000);
    let left = away.news().await;
    assert!(!left.online);
    assert_eq!(
        left.last_seen_time.unwrap(),
        heddle_proto::time::timestamp(NOW_MS + 1_000)
    );
}

#[tokio::test]
async fn a_short_absence_is_not_announced() {
    let world = World::new(|_| {}).await;
    let mut gateway = world.gateway("home").await;
    gateway.report("ann", 1, SessionState::Foreground);
    gateway.watch("ann", true);
    assert!(gateway.news().await.online);
    gateway.report("ann", 1, SessionState::Background);
    gateway.ask("ann").await;
    world.clock.advance(4_999);
    gateway.report("ann", 2, SessionState::Foreground);
    gateway.ask("ann").await;
    world.clock.advance(4_999);
    gateway.set("ann", "back", false);
    let next = gateway.news().await;
    assert_eq!(
        (next.online, next.status.as_str()),
        (true, "back"),
        "nothing came in between"
    );
}

#[tokio::test]
async fn a_gateway_that_is_not_known_is_told_that_it_was_forgotten() {
    let world = World::new(|_| {}).await;
    let mut home = world.gateway("home").await;
    let url = "http://home";
    assert!(home.is_forgotten(url).await && !home.is_forgotten(url).await);
    world.clock.advance(GATEWAY_TTL_MS);
    assert!(home.is_forgotten(url).await);
}

#[tokio::test]
async fn what_users_spend_is_counted_over_all_gateways() {
    let world = World::new(|_| {}).await;
    let (mut home, mut away) = (world.gateway("home").await, world.gateway("away").await);
    let total = |calls, total| {
        let user = vec![1; 16].into();
        vec![SpentTotal { user, calls, total }]
    };
    assert_eq!(home.spend(1, 30).await, total(30, 30));
    assert_eq!(away.spend(1, 20).await, total(20, 50));
    assert_eq!(home.spend(1, 0).await, total(0, 50));
}

#[tokio::test]
async fn background_sessions_make_nobody_online() {
    let world = World::new(|_| {}).await;
    let mut gateway = world.gateway("home").await;
    gateway.report("ann", 1, SessionState::Background);
    assert!(!gateway.ask("ann").await.online);
}

#[tokio::test]
async fn sessions_of_a_lost_gateway_end_by_ttl() {
    let world = World::new(|_| {}).await;
    let (mut lost, mut away) = (world.gateway("lost").await, world.gateway("away").await);
    lost.report("ann", 1, SessionState::Foreground);
    lost.ask("ann").await;
    away.watch("ann", true);
    assert!(away.news().await.online);
    drop(lost);
    world.clock.advance(49_999);
    assert!(away.ask("ann").await.online);
    world.clock.advance(crate::book::SEARCH_PAUSE_MS);
    assert!(!away.news().await.online);
}

#[tokio::test]
async fn who_hides_looks_offline_at_once() {
    let world = World::new(|_| {}).await;
    let mut gateway = world.gateway("home").await;
    gateway.report("ann", 1, SessionState::Foreground);
    gateway.watch("ann", true);
    assert!(gateway.news().await.online);
    gateway.set("ann", "secret", true);
    let nobody = Presence {
        user_id: "ann".into(),
        ..Presence::default()
    };
    assert_eq!(gateway.news().await, nobody);
    assert_eq!(gateway.ask("ann").await, nobody);
}

#[tokio::test]
async fn who_is_not_watched_any_more_is_not_heard_of() {
    let world = World::new(|_| {}).await;
    let mut gateway = world.gateway("home").await;
    gateway.watch("ann", true);
    gateway.watch("bob", true);
    let both = [gateway.news().await.user_id, gateway.news().await.user_id];
    assert_eq!(both, ["ann", "bob"]);
    gateway.watch("ann", false);
    gateway.report("ann", 1, SessionState::Foreground);
    gateway.report("bob", 2, SessionState::Foreground);
    assert_eq!(gateway.news().await.user_id, "bob");
}

/// A gateway that does not read gets the latest state when it reads again, and costs no more
/// than its outbox meanwhile.
#[tokio::test]
async fn a_slow_gateway_gets_the_latest_state() {
    let world = World::new(|config| config.outbox.items_max = 4).await;
    let (mut slow, mut home) = (world.gateway("slow").await, world.gateway("home").await);
    let users: Vec<String> = (0..50).map(|number| format!("user-{number}")).collect();
    users.iter().for_each(|user| slow.watch(user, true));
    for user in &users {
        home.report(user, 1, SessionState::Foreground);
        home.ask(user).await;
    }
    let mut online = std::collections::HashSet::new();
    while online.len() < users.len() {
        let news = slow.news().await;
        if news.online {
            online.insert(news.user_id);
        }
    }
}

#[tokio::test]
async fn the_first_frame_must_name_the_gateway() {
    let world = World::new(|_| {}).await;
    assert_eq!(
        world.gateway("").await.end().await,
        tonic::Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_drain_ends_streams_and_keeps_settings() {
    let world = World::new(|_| {}).await;
    let mut gateway = world.gateway("home").await;
    gateway.set("ann", "at sea", false);
    assert_eq!(gateway.ask("ann").await.status, "at sea");
    assert_eq!(world.tasks.drain(SOON).await, 0);
    assert_eq!(gateway.end().await, tonic::Code::Ok);
    let config = PresenceConfig {
        data_dir: world.dir.path().into(),
        ..PresenceConfig::default()
    };
    let tasks = Tasks::new("again");
    let open = || PresenceService::open(config.clone(), world.clock.clone(), &tasks);
    let began = std::time::Instant::now();
    let reopened = loop {
        match open().await {
            // A server that another test is starting just now still shares our files.
            Err(OpenError::Embedded(embedded::OpenError::InUse { .. }))
                if began.elapsed() < SOON => {}
            opened => break opened.unwrap(),
        }
    };
    assert_eq!(
        &*reopened.store.lookup(&["ann".into()]).await.unwrap()[0].status,
        "at sea"
    );
}

/// Two processes over one Redis: what one is told, the watchers of the other hear, a short absence
/// excepted.
#[tokio::test]
async fn two_processes_share_presence_through_redis() {
    use crate::redis::server::Server;
    let Some(server) = Server::start().await else {
        return;
    };
    let urls = || vec![server.url().into()];
    let one = World::new(|config| config.redis_urls = urls()).await;
    let other = World::new(|config| config.redis_urls = urls()).await;
    for world in [&one, &other] {
        world.service.ready().await;
    }
    let (mut home, mut away) = (one.gateway("home").await, other.gateway("away").await);
    away.watch("ann", true);
    assert!(!away.news().await.online);
    home.report("ann", 1, SessionState::Foreground);
    assert!(away.news().await.online, "a hint comes through Redis");
    home.report("ann", 1, SessionState::Gone);
    home.ask("ann").await;
    for world in [&one, &other] {
        world.clock.advance(4_999);
    }
    home.report("ann", 2, SessionState::Foreground);
    home.set("ann", "back", false);
    let news = away.news().await;
    assert_eq!((news.online, news.status.as_str()), (true, "back"));
    // Its gateway dies without a word.
    drop(home);
    for world in [&one, &other] {
        world.clock.advance(45_000 + 5_000);
    }
    assert!(!away.news().await.online);
}
