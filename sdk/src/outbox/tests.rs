//! The outbox against a model of the server: loses nothing, doubles nothing, keeps the order.

use super::*;
use proptest::prelude::*;
use std::collections::HashSet;

fn conversation(n: u8) -> LogId {
    LogId::from_wire(&[n; 16]).unwrap()
}

fn id(n: u64) -> MessageId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&n.to_be_bytes());
    MessageId::mint(1_000, &random)
}

fn outgoing(to: u8, n: u64) -> Outgoing {
    let content = Some(v1::message::Content::Text(n.to_string()));
    Outgoing {
        conversation_id: conversation(to),
        client_message_id: id(n),
        message: v1::Message {
            content,
            ..Default::default()
        },
    }
}

fn outbox() -> Outbox<u64> {
    let mut outbox = Outbox::new(BackoffPolicy::default());
    outbox.set_in_flight_max(4);
    outbox
}

fn failed(reason: Reason) -> Error {
    Error {
        reason,
        ..Error::disconnected()
    }
}

#[test]
fn the_predecessor_is_named_while_it_is_unanswered() {
    let mut outbox = outbox();
    outbox.push(outgoing(1, 1), 1);
    outbox.push(outgoing(1, 2), 2);
    assert!(outbox.next(1, 0).unwrap().send.predecessor_id.is_empty());
    assert_eq!(
        outbox.next(2, 0).unwrap().send.predecessor_id,
        id(1).to_bytes()
    );
    for request_id in [1, 2] {
        let done = outbox.answer(request_id, Ok(Default::default()), 0, 0.0, || id(0));
        assert!(matches!(done, Answered::Settled(_)));
    }
    outbox.push(outgoing(1, 3), 3);
    assert!(outbox.next(3, 0).unwrap().send.predecessor_id.is_empty());
}

#[test]
fn a_delayed_conversation_holds_back_no_other() {
    let mut outbox = outbox();
    outbox.push(outgoing(1, 1), 1);
    outbox.push(outgoing(2, 2), 2);
    outbox.next(1, 0).unwrap();
    outbox.answer(1, Err(failed(Reason::Overloaded)), 0, 1.0, || id(0));
    let next = outbox.next(2, 0).unwrap();
    assert_eq!(next.send.client_message_id, id(2).to_bytes());
    assert!(outbox.next(3, 99).is_none());
    assert_eq!(outbox.wake_at_ms(), Some(100));
    let again = outbox.next(3, 100).unwrap();
    assert_eq!(again.send.client_message_id, id(1).to_bytes());
}

#[test]
fn an_id_ahead_of_the_server_is_minted_anew_once() {
    let mut outbox = outbox();
    outbox.push(outgoing(1, 1), 1);
    outbox.next(1, 0).unwrap();
    let answered = outbox.answer(1, Err(failed(Reason::IdAhead)), 0, 0.0, || id(9));
    assert!(matches!(answered, Answered::Reminted { old, .. } if old == id(1)));
    let again = outbox.next(2, 0).unwrap();
    assert_eq!(again.send.client_message_id, id(9).to_bytes());
}

#[test]
fn what_is_given_up_is_told_in_order() {
    let mut outbox = outbox();
    for n in 1..=6 {
        outbox.push(outgoing(n as u8 % 3, n), n);
    }
    outbox.next(1, 0).unwrap();
    let tags: Vec<_> = outbox
        .drain(&Error::closed())
        .iter()
        .map(|s| s.tag)
        .collect();
    assert_eq!(tags, [1, 2, 3, 4, 5, 6]);
    assert!(outbox.is_empty() && outbox.next(2, 0).is_none());
}

/// What the wire and the server do next.
#[derive(Clone, Debug)]
enum Move {
    Transmit,
    /// The server takes the oldest frame off the wire and, but for `fault`, stores it.
    Serve(Option<Reason>),
    /// The oldest answer arrives.
    Answer,
    /// The connection ends; frames and answers on the wire are lost.
    Cut,
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let fault = prop_oneof![
        8 => Just(None),
        2 => Just(Some(Reason::Overloaded)),
        1 => Just(Some(Reason::OwnerChanging)),
        1 => Just(Some(Reason::InvalidField)),
    ];
    let one = prop_oneof![
        4 => Just(Move::Transmit),
        4 => fault.prop_map(Move::Serve),
        4 => Just(Move::Answer),
        1 => Just(Move::Cut),
        1 => (0..500u64).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 0..300)
}

/// The server: dedupes, holds the order by predecessors, and two wires.
#[derive(Default)]
struct Model {
    log: Vec<(LogId, MessageId)>,
    refused: HashSet<MessageId>,
    up: VecDeque<Transmission>,
    down: VecDeque<(u64, Result<v1::SendMessageResponse, Error>)>,
    request_id: u64,
    now_ms: u64,
    settled: Vec<Settled<u64>>,
}

impl Model {
    fn step(&mut self, outbox: &mut Outbox<u64>, step: &Move) {
        match step {
            Move::Transmit => {
                self.request_id += 1;
                self.up.extend(outbox.next(self.request_id, self.now_ms));
                assert!(self.up.len() + self.down.len() <= 4);
            }
            Move::Serve(fault) => self.serve(*fault),
            Move::Answer => {
                if let Some((request_id, result)) = self.down.pop_front() {
                    let answered = outbox.answer(request_id, result, self.now_ms, 1.0, || id(0));
                    assert!(!matches!(
                        answered,
                        Answered::Unknown | Answered::Reminted { .. }
                    ));
                    if let Answered::Settled(settled) = answered {
                        self.settled.push(settled);
                    }
                }
            }
            Move::Cut => {
                self.up.clear();
                self.down.clear();
                outbox.disconnected();
            }
            Move::Wait(ms) => self.now_ms += ms,
        }
    }

    fn serve(&mut self, fault: Option<Reason>) {
        let Some(frame) = self.up.pop_front() else {
            return;
        };
        let sent = MessageId::from_wire(&frame.send.client_message_id).unwrap();
        let to = LogId::from_wire(&frame.send.conversation_id).unwrap();
        let stored = |id: MessageId| self.log.iter().any(|(_, one)| *one == id);
        let behind = MessageId::from_wire(&frame.send.predecessor_id);
        let result = if stored(sent) {
            Ok(v1::SendMessageResponse::default())
        } else if self.refused.contains(&sent) {
            Err(failed(Reason::InvalidField))
        } else if behind.is_some_and(|id| !stored(id)) {
            Err(failed(Reason::PredecessorFailed))
        } else if let Some(reason) = fault {
            if reason == Reason::InvalidField {
                self.refused.insert(sent);
            }
            Err(failed(reason))
        } else {
            self.log.push((to, sent));
            Ok(v1::SendMessageResponse::default())
        };
        self.down.push_back((frame.request_id, result));
    }
}

proptest! {
    #[test]
    fn every_send_is_settled_once_and_stored_in_order(moves in moves(), count in 1..30u64) {
        let mut outbox = outbox();
        let mut model = Model::default();
        for n in 1..=count {
            outbox.push(outgoing(n as u8 % 3, n), n);
        }
        for step in &moves {
            model.step(&mut outbox, step);
        }
        for _ in 0..count * 400 {
            for step in [Move::Transmit, Move::Serve(None), Move::Answer, Move::Wait(50)] {
                model.step(&mut outbox, &step);
            }
        }
        prop_assert!(outbox.is_empty());
        let mut tags: Vec<_> = model.settled.iter().map(|settled| settled.tag).collect();
        tags.sort_unstable();
        prop_assert_eq!(tags, (1..=count).collect::<Vec<_>>());
        for lane in 0..3 {
            let stored: Vec<_> = model.log.iter().filter(|(to, _)| *to == conversation(lane))
                .map(|(_, id)| *id).collect();
            let expected: Vec<_> = (1..=count).filter(|n| *n as u8 % 3 == lane).map(id)
                .filter(|id| !model.refused.contains(id)).collect();
            prop_assert_eq!(stored, expected);
        }
    }
}
