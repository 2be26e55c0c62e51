//! The ledger against whatever order intents and outcomes come in.

use super::*;
use proptest::prelude::*;

fn reason() -> String {
    "why".into()
}

fn ledger(settled_max: usize) -> Ledger<u64> {
    Ledger::new(settled_max)
}

#[test]
fn an_intent_ends_with_its_last_device() {
    let (mut ledger, push) = (ledger(8), Arc::from("p"));
    assert_eq!(ledger.admit(&push, 2, 1, true), Admission::Send);
    assert_eq!(ledger.device_done(&push, DeviceOutcome::Delivered), None);
    let lettered = DeviceOutcome::DeadLettered { reason: reason() };
    let end = ledger.device_done(&push, lettered).unwrap();
    assert_eq!((end.waiters, end.settled), (vec![1], true));
    assert_eq!((end.report.delivered, end.report.dead_lettered), (1, 1));
    assert_eq!(ledger.report("p").unwrap().detail, "why");
}

#[test]
fn a_repetition_joins_and_later_hears_what_became_of_it() {
    let (mut ledger, push) = (ledger(8), Arc::from("p"));
    ledger.admit(&push, 1, 1, true);
    assert_eq!(
        ledger.admit(&push, 1, 2, true),
        Admission::Joined { displaced: None }
    );
    assert_eq!(
        ledger
            .device_done(&push, DeviceOutcome::Delivered)
            .unwrap()
            .waiters,
        [1, 2]
    );
    assert!(matches!(
        ledger.admit(&push, 1, 3, true),
        Admission::Settled { waiter: 3, .. }
    ));
}

#[test]
fn without_room_only_what_is_new_is_turned_away() {
    let (mut ledger, push) = (ledger(8), Arc::from("p"));
    assert_eq!(
        ledger.admit(&push, 1, 1, false),
        Admission::NoRoom { waiter: 1 }
    );
    assert_eq!(ledger.report("p"), None);
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
    ledger.device_done(&push, DeviceOutcome::Lost { reason: reason() });
    let end = ledger.device_done(&push, DeviceOutcome::Delivered).unwrap();
    assert!(!end.settled);
    assert_eq!(ledger.admit(&push, 2, 2, true), Admission::Send);
}

proptest! {
    /// Each admitted waiter is told exactly once, nothing is sent while open, and what is
    /// remembered is bounded.
    #[test]
    fn everybody_is_told_once(
        steps in prop::collection::vec((0..6usize, any::<bool>(), any::<bool>()), 0..300)
    ) {
        let ids: Vec<Arc<str>> = (0..6).map(|id| Arc::from(format!("push-{id}"))).collect();
        let mut ledger = ledger(3);
        let (mut open, mut told) = ([0u32; 6], Vec::new());
        let mut admitted = 0u64;
        for (which, intent, lost) in steps {
            if intent {
                let devices = 1 + which as u32 % 2;
                match ledger.admit(&ids[which], devices, admitted, true) {
                    Admission::Send => {
                        prop_assert_eq!(open[which], 0);
                        open[which] = devices;
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
                let outcome = match lost {
                    true => DeviceOutcome::Lost { reason: reason() },
                    false => DeviceOutcome::Delivered,
                };
                let end = ledger.device_done(&ids[which], outcome);
                prop_assert_eq!(end.is_some(), open[which] == 0);
                told.extend(end.into_iter().flat_map(|end| end.waiters));
            }
            let open_count = open.iter().filter(|open| **open > 0).count();
            prop_assert!(ledger.pushes.len() <= 3 + open_count);
        }
        for (which, open) in open.iter_mut().enumerate() {
            while *open > 0 {
                *open -= 1;
                let end = ledger.device_done(&ids[which], DeviceOutcome::Delivered);
                told.extend(end.into_iter().flat_map(|end| end.waiters));
            }
        }
        told.sort_unstable();
        prop_assert_eq!(told, (0..admitted).collect::<Vec<_>>());
    }
}
