//! Each mistake, planted, has a counterexample; the same search without it has none.

use heddle_model::protocol::{Act, Action, REACHED, SENT_AGAIN};
use heddle_model::{Bounds, Mistake, Protocol};
use stateright::{Checker, HasDiscoveries, Model};

const SMALL: Bounds = Bounds::of(3, 2, 2, false);
const EXPIRING: Bounds = Bounds::of(2, 2, 2, true);

/// What fails first, and the steps to it.
fn broken(bounds: Bounds, mistake: Option<Mistake>) -> Option<(&'static str, Vec<Action>)> {
    let search = Protocol { bounds, mistake }.checker().threads(2);
    let search = search.finish_when(HasDiscoveries::AnyFailures).spawn_bfs();
    let found = search.join().discoveries().into_iter();
    let mut failed = found.filter(|(name, _)| ![REACHED, SENT_AGAIN].contains(name));
    failed
        .next()
        .map(|(name, path)| (name, path.into_actions()))
}

#[track_caller]
fn breaks(bounds: Bounds, mistake: Mistake) {
    let Some((property, steps)) = broken(bounds, Some(mistake)) else {
        panic!("{mistake:?} breaks nothing");
    };
    println!("{mistake:?}: not \"{property}\" after {steps:#?}");
    assert!(steps.contains(&Action::Of(0, Act::Raise)), "{steps:?}");
}

#[test]
fn nothing_breaks_without_a_mistake() {
    assert_eq!(broken(SMALL, None), None);
    assert_eq!(broken(EXPIRING, None), None);
}

#[test]
fn ok_before_the_epoch_read_breaks_it() {
    breaks(SMALL, Mistake::OkBeforeEpochRead);
}

#[test]
fn the_tail_read_before_the_raise_breaks_it() {
    breaks(SMALL, Mistake::TailBeforeRaise);
}

#[test]
fn one_replica_for_two_breaks_it() {
    breaks(SMALL, Mistake::OneReplica);
}

#[test]
fn two_batches_in_flight_break_it() {
    breaks(SMALL, Mistake::TwoInFlight);
}

#[test]
fn a_tail_that_is_not_written_again_breaks_it() {
    breaks(SMALL, Mistake::TailNotRewritten);
}

#[test]
fn a_batch_of_several_rows_breaks_it() {
    breaks(SMALL, Mistake::SeveralRows);
}

#[test]
fn stamps_without_the_epoch_break_it() {
    breaks(SMALL, Mistake::StampsWithoutEpoch);
}

#[test]
fn rows_that_expire_before_their_anchor_is_stored_break_it() {
    breaks(EXPIRING, Mistake::ExpiryBeforeAnchor);
}

#[test]
fn what_is_kept_across_another_owner_breaks_it() {
    breaks(SMALL, Mistake::KeptAcrossAnOwner);
}

/// The one rule that others make superfluous (docs/model.md says why). Should this ever fail, the
/// page is wrong.
#[test]
fn decreasing_epochs_alone_break_nothing() {
    let planted = broken(SMALL, Some(Mistake::DecreasingEpochs));
    assert_eq!(planted, None);
}
