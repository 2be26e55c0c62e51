//! The ledger against whatever order intents and outcomes come in.

use super::*;
use proptest::prelude::*;

fn ledger(settled_max: usize) -> Ledger<u64> {
    Ledger::new(settled_max)
}

fn result(device: &str, outcome: PushOutcome, detail: &str) -> PushResult {
    PushResult {
        device_id: device.into(),
        outcome: outcome.into(),
        detail: detail.into(),
        tries: 1,
        ..PushResult::default()
    }
}

fn delivered() -> Outcome {
    Outcome::Settled(result("phone", PushOutcome::Delivered, ""))
}

fn lost() -> Outcome {
    Outcome::Lost {
        reason: "why".into(),
    }
}

#[test]
fn an_intent_ends_with_its_last_push_and_has_a_result_of_each() {
    let (mut ledger, push) = (ledger(8), Arc::from("p"));
    assert_eq!(ledger.admit(&push, 2, 1, true), Admission::Send);
    assert_eq!(ledger.done(&push, delivered()), None);
    let lettered = result("watch", PushOutcome::DeadLetter, "why");
    let end = ledger
        .done(&push, Outcome::Settled(lettered.clone()))
        .unwrap();
    let results = end.settled.unwrap();
    assert_eq!(end.waiters, [1]);
    assert_eq!(results[1], lettered);
    assert_eq!((results.len(), &*detail(&results)), (2, "why"));
}

#[test]
fn a_repetition_joins_and_later_hears_the_same_results() {
    let (mut ledger, push) = (ledger(8), Arc::from("p"));
    ledger.admit(&push, 1, 1, true);
    assert_eq!(
        ledger.admit(&push, 1, 2, true),
        Admission::Joined { displaced: None }
    );
    let dead = result("phone", PushOutcome::TokenDead, "gone");
    let end = ledger.done(&push, Outcome::Settled(dead)).unwrap();
    assert_eq!(end.waiters, [1, 2]);
    let again = Admission::Settled {
        waiter: 3,
        results: end.settled.unwrap(),
    };
    assert_eq!(ledger.admit(&push, 1, 3, true), again);
}

#[test]
fn without_room_only_what_is_new_is_turned_away() {
    let (mut ledger, push) = (ledger(8), Arc::from("p"));
    assert_eq!(
        ledger.admit(&push, 1, 1, false),
        Admission::NoRoom { waiter: 1 }
    );
    ledger.admit(&push, 1, 2, true);
    assert_eq!(
        ledger.admit(&push, 1, 3, false),
        Admission::Joined { displaced: None }
    );
}

#[test]
fn waiters_are_bounded() {
    let (mut ledger, push) = (ledger(8), Arc::from("p"));
    ledger.admit(&push, 1, 0, true);
    let joins = (1..20).map(|waiter| ledger.admit(&push, 1, waiter, true));
    let displaced: Vec<_> = joins
        .filter_map(|admission| match admission {
            Admission::Joined { displaced } => displaced,
            _ => None,
        })
        .collect();
    assert_eq!(displaced, (0..12).collect::<Vec<_>>());
}

#[test]
fn what_is_lost_may_be_sent_again() {
    let (mut ledger, push) = (ledger(8), Arc::from("p"));
    ledger.admit(&push, 2, 1, true);
    ledger.done(&push, lost());
    let end = ledger.done(&push, delivered()).unwrap();
    assert_eq!(end.settled, Err("why".into()));
    assert_eq!(ledger.admit(&push, 2, 2, true), Admission::Send);
}

proptest! {
    /// Each admitted waiter is told exactly once, nothing is sent while open, and the results that
    /// are remembered are bounded.
    #[test]
    fn everybody_is_told_once(
        steps in prop::collection::vec((0..6usize, any::<bool>(), any::<bool>()), 0..300)
    ) {
        let ids: Vec<Arc<str>> = (0..6).map(|id| Arc::from(format!("push-{id}"))).collect();
        let mut ledger = ledger(3);
        let (mut open, mut told) = ([0u32; 6], Vec::new());
        let mut admitted = 0u64;
        for (which, intent, is_lost) in steps {
            if intent {
                let pushes = 1 + which as u32 % 2;
                match ledger.admit(&ids[which], pushes, admitted, true) {
                    Admission::Send => {
                        prop_assert_eq!(open[which], 0);
                        open[which] = pushes;
                    }
                    Admission::Joined { displaced } => {
                        prop_assert!(open[which] > 0);
                        told.extend(displaced);
                    }
                    Admission::Settled { waiter, .. } | Admission::NoRoom { waiter } => {
                        told.push(waiter);
                    }
                }
                admitted += 1;
            } else if open[which] > 0 {
                open[which] -= 1;
                let outcome = if is_lost { lost() } else { delivered() };
                let end = ledger.done(&ids[which], outcome);
                prop_assert_eq!(end.is_some(), open[which] == 0);
                told.extend(end.into_iter().flat_map(|end| end.waiters));
            }
            let settled = ledger.pushes.values().filter(|entry| entry.open == 0);
            prop_assert!(settled.map(|entry| entry.results.len()).sum::<usize>() <= 3);
        }
        for (which, open) in open.iter_mut().enumerate() {
            while *open > 0 {
                *open -= 1;
                let end = ledger.done(&ids[which], delivered());
                told.extend(end.into_iter().flat_map(|end| end.waiters));
            }
        }
        told.sort_unstable();
        prop_assert_eq!(told, (0..admitted).collect::<Vec<_>>());
    }
}
