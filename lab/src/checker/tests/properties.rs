//! Properties: a clean run is clean, a saved history judges the same, damage is found.

use proptest::prelude::*;

use super::*;

fn ops() -> impl Strategy<Value = Vec<(Op, u32)>> {
    let op = prop_oneof![
        6 => Just(Op::Say),
        1 => Just(Op::Edit),
        1 => Just(Op::Erase),
        2 => Just(Op::React),
        1 => Just(Op::Unreact),
        1 => Just(Op::Leave),
        2 => Just(Op::Join),
        1 => Just(Op::Refused),
        1 => any::<bool>().prop_map(|stored| Op::Unanswered { stored }),
        1 => Just(Op::Resume),
        1 => Just(Op::Hide),
    ];
    prop::collection::vec((op, 0..5u32), 0..60)
}

proptest! {
    #[test]
    fn a_clean_run_gives_no_verdict(users in 1..5u32, ops in ops()) {
        let report = check(&clean(users, &ops));
        prop_assert!(report.is_clean(), "{:?}", report.examples);
    }

    #[test]
    fn a_saved_history_judges_the_same(
        users in 1..5u32, ops in ops(), cut in any::<prop::sample::Index>(),
    ) {
        let mut history = clean(users, &ops);
        let device = cut.index(history.devices.len());
        history.devices[device].stream.pop();
        let mut bytes = Vec::new();
        file::save(&history, &mut bytes).unwrap();
        let loaded = file::load(bytes.as_slice()).unwrap();
        prop_assert_eq!(check(&loaded), check(&history));
    }

    /// Whatever single delivery disappears from a finished device, it is noticed, once.
    #[test]
    fn any_lost_delivery_is_found(says in 1..40u32, cut in any::<prop::sample::Index>()) {
        let ops: Vec<_> = (0..says).map(|user| (Op::Say, user)).collect();
        let mut history = clean(3, &ops);
        history.devices[2].stream.remove(cut.index(says as usize));
        let report = check(&history);
        prop_assert_eq!(report.count(Verdict::Lost), 1);
        prop_assert_eq!(report.verdicts.values().sum::<u64>(), 1);
    }

    /// Two deliveries that change places in one device's stream are noticed.
    #[test]
    fn any_swap_is_found(says in 2..40u32, at in any::<prop::sample::Index>()) {
        let ops: Vec<_> = (0..says).map(|user| (Op::Say, user)).collect();
        let mut history = clean(3, &ops);
        let at = at.index(says as usize - 1);
        let stream = &mut history.devices[2].stream;
        let (first, second) = (stream[at].event, stream[at + 1].event);
        (stream[at].event, stream[at + 1].event) = (second, first);
        prop_assert!(check(&history).count(Verdict::OrderDivergence) > 0);
    }
}

/// A million deliveries are judged in seconds and take 24 bytes each.
#[test]
fn a_million_deliveries_are_no_trouble() {
    assert_eq!(size_of::<history::Seen>(), 24);
    let ops: Vec<_> = (0..2_500).map(|user| (Op::Say, user)).collect();
    let mut world = World::new(1);
    let devices = 400;
    for device in 2..devices {
        world.history.device(0, format!("u0-{device}"));
    }
    ops.iter().for_each(|&(op, _)| world.step(op, 0));
    world.finish();
    let mut history = world.history;
    let stream = history.devices[0].stream.clone();
    let last = history.finals[0].clone();
    for device in 2..devices {
        history.devices[device as usize].stream = stream.clone();
        history.finished(Final {
            device,
            ..last.clone()
        });
    }
    let started = std::time::Instant::now();
    let report = check(&history);
    assert!(report.is_clean(), "{:?}", report.examples);
    assert_eq!(report.observed.deliveries, 1_000_000);
    assert!(
        started.elapsed().as_secs() < 30,
        "took {:?}",
        started.elapsed()
    );
}
