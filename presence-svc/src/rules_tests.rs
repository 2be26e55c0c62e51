//! The rules against a model that remembers every report and forgets nothing.

use super::*;
use proptest::prelude::*;

const TIMING: Timing = Timing {
    ttl_ms: 45_000,
    grace_ms: 5_000,
};

fn key(session: u64) -> SessionKey {
    SessionKey {
        gateway: "edge-1".into(),
        session,
    }
}

fn facts(life: &Life) -> Facts {
    Facts {
        online_until_ms: life.online_until_ms(),
        last_seen_ms: life.last_seen_ms(),
        ..Facts::default()
    }
}

#[test]
fn a_session_that_falls_silent_is_gone_after_ttl_and_grace() {
    let mut life = Life::default();
    life.refresh(&key(1), 1_000, TIMING.ttl_ms);
    let facts = facts(&life);
    assert!(facts.view(50_999, TIMING).online);
    let after = facts.view(51_000, TIMING);
    assert_eq!((after.online, after.last_seen_ms), (false, Some(1_000)));
}

#[test]
fn a_short_absence_is_never_seen() {
    let mut life = Life::default();
    life.refresh(&key(1), 1_000, TIMING.ttl_ms);
    assert!(life.gone(&key(1), 2_000));
    assert!(facts(&life).view(6_999, TIMING).online);
    life.refresh(&key(2), 6_999, TIMING.ttl_ms);
    assert!(facts(&life).view(7_000, TIMING).online);
}

#[test]
fn a_long_absence_is_seen_after_the_grace_with_the_time_of_leaving() {
    let mut life = Life::default();
    life.refresh(&key(1), 1_000, TIMING.ttl_ms);
    assert!(life.gone(&key(1), 2_000));
    assert!(!life.gone(&key(1), 3_000), "gone already");
    let after = facts(&life).view(7_000, TIMING);
    assert_eq!((after.online, after.last_seen_ms), (false, Some(2_000)));
}

#[test]
fn who_hides_looks_like_somebody_never_heard_of() {
    let hiding = Facts {
        online_until_ms: 100,
        last_seen_ms: 50,
        status: "busy".into(),
        hidden: true,
    };
    assert_eq!(hiding.view(10, TIMING), Facts::default().view(10, TIMING));
}

#[test]
fn sessions_of_one_user_are_bounded() {
    let mut life = Life::default();
    for session in 0..1_000 {
        life.refresh(&key(session), session, TIMING.ttl_ms);
    }
    assert_eq!(life.sessions.len(), SESSIONS_PER_USER_MAX);
    assert!(life.gone(&key(999), 1_000), "the newest stay");
}

#[derive(Clone, Debug)]
enum Step {
    Refresh(u64),
    Gone(u64),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..4u64).prop_map(Step::Refresh),
        (0..4u64).prop_map(Step::Gone),
        prop_oneof![0..6_000u64, 0..60_000u64].prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    /// Online is what the definition says, at every moment: some session was alive at some
    /// instant of the last grace.
    #[test]
    fn online_is_alive_within_the_grace(steps in steps()) {
        let (mut life, mut now) = (Life::default(), 1_000u64);
        // Each session's stretches of being alive: [from, to).
        let mut stretches: Vec<(u64, u64, u64)> = Vec::new();
        for step in steps {
            match step {
                Step::Wait(ms) => now += ms,
                Step::Refresh(session) => {
                    life.refresh(&key(session), now, TIMING.ttl_ms);
                    stretches.push((session, now, now + TIMING.ttl_ms));
                }
                Step::Gone(session) => {
                    life.gone(&key(session), now);
                    for stretch in stretches.iter_mut().filter(|stretch| stretch.0 == session) {
                        stretch.2 = stretch.2.min(now);
                    }
                }
            }
            let expected = stretches.iter().any(|&(_, _, to)| now < to + TIMING.grace_ms);
            prop_assert_eq!(facts(&life).view(now, TIMING).online, expected);
        }
    }

    /// Forgetting expired sessions, whenever it happens, changes no fact.
    #[test]
    fn forgetting_changes_nothing(steps in steps(), later in 0..100_000u64) {
        let (mut life, mut now) = (Life::default(), 1_000u64);
        for step in steps {
            match step {
                Step::Wait(ms) => now += ms,
                Step::Refresh(session) => life.refresh(&key(session), now, TIMING.ttl_ms),
                Step::Gone(session) => { life.gone(&key(session), now); }
            }
        }
        let before = facts(&life);
        life.forget_expired(now + later);
        prop_assert_eq!(before, facts(&life));
    }
}
