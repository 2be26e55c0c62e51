//! The book, driven as `link` drives it, over a world that loses hints.

use super::*;
use crate::rules::{Life, SessionKey};
use proptest::prelude::*;

const TIMING: Timing = Timing {
    ttl_ms: 45_000,
    grace_ms: 5_000,
};
const RECHECK_MS: u64 = 10_000;

fn book() -> WatchBook {
    WatchBook::new(TIMING, RECHECK_MS, 3)
}

fn online(until_ms: u64) -> Facts {
    Facts {
        online_until_ms: until_ms,
        last_seen_ms: 1,
        ..Facts::default()
    }
}

/// Looks everybody up who is due, and says whose view was told.
fn tick(book: &mut WatchBook, now_ms: u64, facts: &Facts) -> Vec<bool> {
    let due = book.take_due(now_ms, usize::MAX);
    due.iter()
        .filter_map(|user| book.learn(user, facts, now_ms))
        .map(|view| view.online)
        .collect()
}

#[test]
fn a_watch_is_answered_at_once_and_said_again_answered_again() {
    let mut book = book();
    assert!(book.watch("ann".into()));
    assert_eq!(tick(&mut book, 1, &Facts::default()), [false]);
    assert!(tick(&mut book, 1, &Facts::default()).is_empty());
    assert!(book.watch("ann".into()));
    assert_eq!(tick(&mut book, 1, &Facts::default()), [false]);
}

#[test]
fn who_is_not_watched_is_not_looked_up() {
    let mut book = book();
    book.hint(&"ann".into());
    assert!(book.watch("ann".into()));
    book.unwatch("ann");
    assert!(tick(&mut book, 1, &online(10)).is_empty());
    assert!(book.learn(&"ann".into(), &online(10), 1).is_none());
}

#[test]
fn time_passing_turns_a_user_offline_without_any_hint() {
    let mut book = book();
    assert!(book.watch("ann".into()));
    assert_eq!(tick(&mut book, 1_000, &online(4_000)), [true]);
    assert!(tick(&mut book, 8_999, &online(4_000)).is_empty());
    assert_eq!(tick(&mut book, 9_000, &online(4_000)), [false]);
}

#[test]
fn watches_are_bounded() {
    let mut book = book();
    assert!(
        ["a", "b", "c", "a"]
            .iter()
            .all(|user| book.watch((*user).into()))
    );
    assert!(!book.watch("d".into()));
}

#[test]
fn what_does_not_fit_or_fails_is_due_again() {
    let mut book = book();
    for user in ["a", "b", "c"] {
        book.watch(user.into());
    }
    let taken = book.take_due(1, 2);
    assert_eq!(taken.len(), 2);
    book.postpone(taken);
    assert_eq!(tick(&mut book, 1, &online(10)).len(), 3);
}

#[test]
fn users_watched_and_left_without_end_cost_nothing() {
    let mut book = book();
    for number in 0..1_000 {
        let user = format!("user-{number}");
        assert!(book.watch(user.as_str().into()));
        book.unwatch(&user);
    }
    assert!(book.watch("ann".into()));
    assert!(book.hinted.len() <= 2);
    assert_eq!(tick(&mut book, SEARCH_PAUSE_MS, &online(1)), [true]);
}

#[test]
fn lost_hints_make_everybody_due() {
    let mut book = book();
    book.watch("a".into());
    book.watch("b".into());
    assert_eq!(tick(&mut book, 1_000, &Facts::default()), [false, false]);
    book.hints_lost();
    assert_eq!(tick(&mut book, 2_000, &online(9_000)), [true, true]);
}

proptest! {
    /// Whatever hints are lost, what the gateway was told is the truth of at most one recheck
    /// ago, and it is never told the same twice in a row.
    #[test]
    fn told_is_true_within_a_recheck(
        steps in prop::collection::vec((0..3u8, any::<bool>(), 1..4_000u64), 1..80)
    ) {
        let user: UserId = "ann".into();
        let key = SessionKey { gateway: "edge-1".into(), session: 1 };
        let (mut book, mut life, mut now_ms) = (book(), Life::default(), 1_000);
        let mut told = None;
        let mut true_at = now_ms;
        book.watch(user.clone());
        for (step, hint_arrives, wait_ms) in steps {
            match step {
                0 => life.refresh(&key, now_ms, TIMING.ttl_ms),
                1 => { life.gone(&key, now_ms); }
                _ => {}
            }
            if hint_arrives {
                book.hint(&user);
            }
            let facts = Facts {
                online_until_ms: life.online_until_ms(),
                last_seen_ms: life.last_seen_ms(),
                ..Facts::default()
            };
            for user in book.take_due(now_ms, 1) {
                if let Some(view) = book.learn(&user, &facts, now_ms) {
                    prop_assert_ne!(told.as_ref(), Some(&view));
                    told = Some(view);
                }
            }
            if told == Some(facts.view(now_ms, TIMING)) {
                true_at = now_ms;
            }
            let stale_ms = now_ms - true_at;
            prop_assert!(stale_ms <= RECHECK_MS + SEARCH_PAUSE_MS + 4_000, "{stale_ms}");
            now_ms += wait_ms;
        }
    }
}
