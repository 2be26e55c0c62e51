//! Figures: what 50,000 sessions, and watching them, cost a Redis. Printed, and held to a bound.
//!
//! `docs/presence.md` quotes it. Time is simulated: reports come in the batches of the
//! gateways, users are looked up when the links' books say so, as fast as Redis answers.

use std::collections::BTreeMap;
use std::time::Instant;

use redis::cmd;

use super::server::{Server, cluster};
use super::tests::store;
use super::*;
use crate::book::{SEARCH_PAUSE_MS, WatchBook};
use crate::contract::session;

const SESSIONS: usize = 50_000;
const GATEWAYS: usize = 5;
/// Of each session; a gateway spreads its sessions over it.
const REFRESH_SECONDS: usize = 15;
const SIMULATED_SECONDS: usize = 30;
/// As a link takes in one go; see `link`.
const LOOKED_UP_AT_ONCE: usize = 2 * 1024;

/// Every gateway serves a fifth of the sessions and watches the users of all of them.
#[tokio::test]
async fn fifty_thousand_sessions_cost_few_commands() {
    let Some(server) = Server::start().await else {
        return;
    };
    let asked = simulate(&server.config(), &[server]).await;
    assert!(asked <= 200.0, "{asked}");
}

/// In a cluster a command is about users of one bucket; with more sessions they do not get more.
#[tokio::test]
async fn fifty_thousand_sessions_cost_a_cluster_bounded_commands() {
    let Some(servers) = cluster().await else {
        return;
    };
    let mut config = servers[0].config();
    config.redis_cluster = true;
    let asked = simulate(&config, &servers).await;
    assert!(asked <= 8_000.0, "{asked}");
}

/// Answers how many commands all servers together were sent a second.
async fn simulate(config: &PresenceConfig, servers: &[Server]) -> f64 {
    let (store, _tasks) = store(config).await;
    let sessions: Vec<Session> = (0..SESSIONS)
        .map(|at| {
            session(
                &format!("user-{at}"),
                &format!("edge-{}", at % GATEWAYS),
                at as u64,
            )
        })
        .collect();
    let gateways: Vec<Vec<Session>> = (0..GATEWAYS)
        .map(|gateway| {
            sessions
                .iter()
                .skip(gateway)
                .step_by(GATEWAYS)
                .cloned()
                .collect()
        })
        .collect();
    let mut now_ms = 1_000_000;
    store.refresh(&sessions, now_ms).await.unwrap();
    let mut books: Vec<WatchBook> = (0..GATEWAYS)
        .map(|_| WatchBook::new(config.timing(), config.recheck_ms, config.watched_max))
        .collect();
    for book in &mut books {
        sessions
            .iter()
            .for_each(|session| assert!(book.watch(session.user.clone())));
    }
    // The first answers to all watches come as fast as a gateway reads; they are not the figure.
    while look_up(&store, &mut books, now_ms).await > 0 {}

    for server in servers {
        server.ask::<()>(cmd("CONFIG").arg("RESETSTAT")).await;
    }
    let began = Instant::now();
    let (mut refreshed, mut looked_up) = (0, 0);
    for second in 0..SIMULATED_SECONDS {
        for sessions in &gateways {
            let turn = sessions
                .iter()
                .skip(second % REFRESH_SECONDS)
                .step_by(REFRESH_SECONDS);
            let turn: Vec<Session> = turn.cloned().collect();
            store.refresh(&turn, now_ms).await.unwrap();
            refreshed += turn.len();
        }
        for _ in 0..1_000 / SEARCH_PAUSE_MS {
            now_ms += SEARCH_PAUSE_MS;
            // Until nobody is due: no link has to wait for room.
            loop {
                let count = look_up(&store, &mut books, now_ms).await;
                looked_up += count;
                if count == 0 {
                    break;
                }
            }
        }
    }
    let recheck_s = usize::try_from(config.recheck_ms / 1_000).unwrap();
    let rounds = SIMULATED_SECONDS / recheck_s;
    assert!(looked_up >= SESSIONS * GATEWAYS * rounds, "{looked_up}");
    report(servers, refreshed, looked_up, began.elapsed().as_secs_f64()).await
}

/// What each link does when it wakes. How many users were looked up.
async fn look_up(store: &RedisPresence, books: &mut [WatchBook], now_ms: u64) -> usize {
    let mut count = 0;
    for book in books {
        let due = book.take_due(now_ms, LOOKED_UP_AT_ONCE);
        let facts = store.lookup(&due).await.unwrap();
        for (user, facts) in due.iter().zip(&facts) {
            book.learn(user, facts, now_ms);
        }
        count += due.len();
    }
    count
}

/// Prints what Redis counted; answers the commands that it was sent a second.
async fn report(servers: &[Server], refreshed: usize, looked_up: usize, took_s: f64) -> f64 {
    let seconds = SIMULATED_SECONDS as f64;
    let mut calls = BTreeMap::<String, (f64, f64)>::new();
    let mut memory_bytes = 0.0;
    for server in servers {
        let stats: String = server.ask(cmd("INFO").arg("commandstats")).await;
        for (name, (count, micros)) in stats.lines().filter_map(counted) {
            let sum = calls.entry(name.to_owned()).or_default();
            *sum = (sum.0 + count, sum.1 + micros);
        }
        let memory: String = server.ask(cmd("INFO").arg("memory")).await;
        let used = memory
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        memory_bytes += used.unwrap().parse::<f64>().unwrap();
    }
    let of = |name| calls.get(name).copied().unwrap_or_default();
    // Each EVAL runs an MGET of its own, which nobody sends; so the two together are right.
    let sent = (of("mget").0 + of("publish").0) / seconds;
    let busy = (of("mget").1 + of("eval").1 + of("publish").1) / 1e6 / seconds;
    println!(
        "{SESSIONS} sessions on {GATEWAYS} gateways, each refreshed every {REFRESH_SECONDS} s, \
         each gateway watching all {SESSIONS} users; {} Redis; a second:",
        servers.len()
    );
    println!("  sessions refreshed  {:8.0}", refreshed as f64 / seconds);
    println!("  users looked up     {:8.0}", looked_up as f64 / seconds);
    println!("  commands sent       {sent:8.0}   (MGET, EVAL, PUBLISH)");
    println!("  SET within EVAL     {:8.0}", of("set").0 / seconds);
    println!("  busy, of one core   {:8.1} %", 100.0 * busy);
    println!(
        "  memory in all       {:8.1} MiB",
        memory_bytes / 1_048_576.0
    );
    println!("  ({SIMULATED_SECONDS} simulated seconds took {took_s:.1} s)");
    sent
}

/// `cmdstat_mget:calls=10,usec=20,...` as the name, the calls and the microseconds.
fn counted(line: &str) -> Option<(&str, (f64, f64))> {
    let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(':')?;
    let field = |key: &str| {
        let value = rest.split(',').find_map(|field| field.strip_prefix(key))?;
        value.parse::<f64>().ok()
    };
    Some((name, (field("calls=")?, field("usec=")?)))
}
