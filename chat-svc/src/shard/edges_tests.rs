//! A gateway that reads nothing: what waits for it is bounded, whatever it is made of.

use super::*;
use futures_util::{FutureExt, StreamExt};
use heddle_proto::{internal::ephemeral, v1::Signal};

/// The largest frame that a gateway takes, in bytes.
const GATEWAY_FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
const BODY: &[u8] = &[0; 64 * 1024];
/// Four times as many as may wait.
const BODIES: usize = 4 * EDGE_BYTES_MAX / BODY.len();

fn delivering() -> EdgeResponse {
    EdgeResponse {
        bodies: vec![Bytes::from_static(BODY)],
        deliveries: vec![Delivery::default()],
        ..Default::default()
    }
}

fn answering(id: u64) -> EdgeResponse {
    EdgeResponse {
        results: vec![CommandResult { id, outcome: None }],
        ..Default::default()
    }
}

/// What a gateway gets that reads now.
fn read(frames: &mut EdgeFrames) -> Vec<EdgeResponse> {
    std::iter::from_fn(|| frames.next().now_or_never().flatten()).collect()
}

#[test]
fn deliveries_beyond_the_bound_are_dropped_and_answers_are_not() {
    let (edge, mut frames) = Edge::new(1);
    let ids: Vec<u64> = (1..=BODIES as u64).collect();
    for id in &ids {
        edge.send(delivering());
        edge.send(answering(*id));
    }
    let waited = merge(read(&mut frames));
    let bytes: usize = waited.bodies.iter().map(Bytes::len).sum();
    assert!(bytes > EDGE_BYTES_MAX / 2 && bytes <= EDGE_BYTES_MAX);
    assert_eq!(waited.bodies.len(), waited.deliveries.len());
    let answered: Vec<u64> = waited.results.iter().map(|result| result.id).collect();
    assert_eq!(answered, ids);
    edge.send(delivering());
    assert_eq!(read(&mut frames), [delivering()], "there is room again");
}

#[test]
fn a_delivery_that_is_dropped_leaves_nothing_behind() {
    let (edge, _frames) = Edge::new(1);
    for _ in 0..BODIES {
        edge.send(delivering());
    }
    let waiting = edge.frames.len();
    for _ in 0..BODIES {
        edge.send(delivering());
    }
    assert_eq!(edge.frames.len(), waiting);
}

/// A signal for all sessions of a large group that are on one gateway.
fn signalling() -> EdgeResponse {
    let signal = Signal {
        payload: Bytes::from_static(&BODY[..4096]),
        ..Default::default()
    };
    let ephemeral = Ephemeral {
        session_ids: vec![1],
        kind: Some(ephemeral::Kind::Signal(signal)),
    };
    EdgeResponse {
        ephemerals: vec![ephemeral; 100],
        ..Default::default()
    }
}

#[test]
fn signals_count_as_much_as_they_are() {
    let (edge, mut frames) = Edge::new(1);
    for _ in 0..512 {
        edge.send(signalling());
    }
    let mut bytes = 0;
    for frame in read(&mut frames) {
        let frame_bytes = frame.encoded_len();
        assert!(frame_bytes <= GATEWAY_FRAME_BYTES_MAX, "{frame_bytes}");
        bytes += frame_bytes;
    }
    assert!(bytes <= EDGE_BYTES_MAX + EDGE_BYTES_MAX / 10, "{bytes}");
}
