//! Tests of a session's queue: its bounds, and how it ends.

use super::*;
use v1::PingResponse;

fn poll(state: &mut State) -> Option<Frame> {
    match state.poll(&Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(response))) => response.frame,
        _ => None,
    }
}

fn open() -> State {
    State {
        phase: Phase::Open,
        ..State::new()
    }
}

fn pong() -> Result<Outcome, Fault> {
    Ok(Outcome::Ping(PingResponse::default()))
}

#[test]
fn a_request_is_in_flight_until_its_answer_is_taken() {
    let mut state = open();
    assert!(state.begin(1).is_ok());
    let _ = state.answer(1, pong());
    assert_eq!(
        state.begin(1).unwrap_err().reason,
        ErrorReason::TooManyInFlight
    );
    assert!(poll(&mut state).is_some());
    assert!(state.begin(1).is_ok());
}

#[test]
fn without_a_request_id_only_errors_are_told() {
    let mut state = open();
    assert!(state.begin(1).is_ok());
    let _ = state.answer(0, pong());
    assert!(poll(&mut state).is_none());
    assert!(state.begin(1).is_ok());
    let _ = state.answer(0, Err(Fault::field("ack.position", "unknown")));
    assert!(matches!(poll(&mut state), Some(Frame::Result(_))));
}

#[test]
fn notices_beyond_their_number_are_dropped() {
    let mut state = open();
    for _ in 0..1_000 {
        let _ = state.push(Class::Notice, Frame::Typing(v1::Typing::default()));
    }
    let taken = std::iter::from_fn(|| poll(&mut state)).count();
    assert_eq!(taken, NOTICES_MAX as usize);
}

#[test]
fn who_sends_and_never_reads_is_ended() {
    let mut state = open();
    for _ in 0..=REFUSALS_MAX {
        let _ = state.refuse(1, Fault::new(ErrorReason::TooManyInFlight, "wait"));
    }
    assert!(state.is_ended());
    for _ in 0..=REFUSALS_MAX {
        assert!(poll(&mut state).is_some());
    }
    let Poll::Ready(Some(Err(status))) = state.poll(&Context::from_waker(Waker::noop())) else {
        panic!("no status");
    };
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert!(matches!(
        state.poll(&Context::from_waker(Waker::noop())),
        Poll::Ready(None)
    ));
}

#[test]
fn a_device_that_has_finished_gets_its_answers_first() {
    let mut state = open();
    assert!(state.begin(4).is_ok());
    state.finishing = true;
    assert!(state.poll(&Context::from_waker(Waker::noop())).is_pending());
    let _ = state.answer(7, pong());
    assert!(poll(&mut state).is_some());
    assert!(matches!(
        state.poll(&Context::from_waker(Waker::noop())),
        Poll::Ready(None)
    ));
}

#[test]
fn an_ended_session_leaves_deliveries_to_the_next() {
    let mut state = open();
    let _ = state.push(Class::Delivery, Frame::Event(Default::default()));
    state.end(None);
    let _ = state.push(Class::Control, Frame::GoAway(v1::GoAway::default()));
    assert!(matches!(poll(&mut state), Some(Frame::GoAway(_))));
    assert!(matches!(
        state.poll(&Context::from_waker(Waker::noop())),
        Poll::Ready(None)
    ));
}

#[test]
fn an_idle_session_is_small() {
    use crate::session::Session;
    assert!(size_of::<Session>() <= 768, "{}", size_of::<Session>());
}
