//! Tests of the users' accounts: one gateway, and several that share their counts.

use super::*;
use std::collections::HashMap;

const PER_SECOND: u32 = 100;
const BURST: u32 = 100;
const NS_PER_S: u64 = 1_000_000_000;

fn users() -> Users {
    let some = |number| NonZeroU32::new(number).unwrap();
    Users::new(Quota::new(some(PER_SECOND), some(BURST)), some(PER_SECOND))
}

fn ann() -> LogId {
    LogId::mailbox("ann")
}

/// Calls as often as it can; how often that was.
fn flood(users: &Users, now_ns: u64) -> u32 {
    let mut calls = 0;
    while users.take(ann(), now_ns) {
        calls += 1;
    }
    calls
}

/// What presence-svc does.
#[derive(Default)]
struct Counters(HashMap<bytes::Bytes, u64>);

impl Counters {
    fn add(&mut self, spent: &Spent) -> SpentTotal {
        let total = self.0.entry(spent.user.clone()).or_default();
        *total += u64::from(spent.calls);
        SpentTotal {
            user: spent.user.clone(),
            calls: spent.calls,
            total: *total,
        }
    }

    fn share(&mut self, users: &Users, now_ns: u64) {
        for spent in users.spent() {
            users.learn(&self.add(&spent), now_ns);
        }
    }
}

/// How much a user gets in a while who floods so many gateways, each of which tells the others at a
/// time of its own, or never.
fn let_in(gateways: usize, shared: bool, seconds: u64) -> u32 {
    let all: Vec<_> = (0..gateways).map(|_| users()).collect();
    let (mut counters, mut calls) = (Counters::default(), 0);
    const STEPS: u64 = 100;
    for step in 0..seconds * STEPS {
        let now_ns = NS_PER_S + step * NS_PER_S / STEPS;
        for (number, users) in all.iter().enumerate() {
            calls += flood(users, now_ns);
            let phase = number as u64 * STEPS / gateways as u64;
            if shared && step % STEPS == phase {
                counters.share(users, now_ns);
            }
        }
    }
    calls
}

#[test]
fn several_gateways_that_share_let_in_about_as_much_as_one() {
    const SECONDS: u64 = 60;
    let alone = let_in(1, true, SECONDS);
    assert_eq!(alone, BURST + PER_SECOND * SECONDS as u32 - 1);
    for gateways in [2, 3, 8] {
        let apart = let_in(gateways, false, SECONDS);
        assert_eq!(apart, alone * gateways as u32);
        let shared = let_in(gateways, true, SECONDS);
        let (least, most) = (alone * 3 / 4, alone * 3 / 2);
        assert!(
            (least..most).contains(&shared),
            "{gateways}: {shared}, not about {alone}"
        );
    }
}

#[test]
fn who_spends_less_than_the_limit_in_all_is_never_refused() {
    let all = [users(), users()];
    let mut counters = Counters::default();
    for step in 0..60 * 10 {
        let now_ns = NS_PER_S + step * NS_PER_S / 10;
        for users in &all {
            // 40 a second at each.
            assert!((0..4).all(|_| users.take(ann(), now_ns)), "{step}");
            if step % 10 == 0 {
                counters.share(users, now_ns);
            }
        }
    }
    assert!(counters.0.values().all(|total| *total > 0));
}

#[test]
fn only_who_spends_much_is_told_of_and_the_heaviest_first() {
    let users = users();
    let user = |number: usize| LogId::mailbox(&format!("user {number}"));
    for _ in 0..PER_SECOND / TOLD_FROM_PART - 1 {
        assert!(users.take(ann(), 1));
    }
    assert_eq!(users.spent(), []);
    for number in 0..=TOLD_MAX {
        let calls = PER_SECOND / TOLD_FROM_PART + u32::from(number > 0);
        assert!((0..calls).all(|_| users.take(user(number), 1)));
    }
    let told = users.spent();
    assert_eq!(told.len(), TOLD_MAX);
    assert!(told.iter().all(|spent| spent.calls == 26));
    assert_eq!(users.spent(), [], "a window is told of once");
}

#[test]
fn what_is_not_known_of_others_is_not_debited() {
    assert_eq!(of_others(0, 5, 1_000), 0, "never seen");
    assert_eq!(of_others(100, 5, 105), 0);
    assert_eq!(of_others(100, 5, 135), 30);
    assert_eq!(of_others(100, 5, 5), 0, "the counter began anew");
}

#[test]
fn what_was_seen_long_ago_counts_for_nothing() {
    let users = users();
    let learn = |total| {
        let user = ann().to_bytes();
        users.learn(
            &SpentTotal {
                user,
                calls: 0,
                total,
            },
            1,
        );
    };
    assert!(users.take(ann(), 1));
    learn(1_000);
    learn(1_050);
    assert_eq!(flood(&users, 1), BURST - 51);
    for _ in 0..=SEEN_WINDOWS_MAX {
        users.spent();
    }
    learn(9_000);
    assert_eq!(flood(&users, 1 + NS_PER_S), BURST, "nothing was debited");
}

#[test]
fn who_has_the_whole_burst_is_forgotten() {
    let users = users();
    assert!(users.take(ann(), 1));
    users.sweep(1);
    assert_eq!(users.len(), 1);
    users.sweep(NS_PER_S);
    assert_eq!(users.len(), 0);
}
