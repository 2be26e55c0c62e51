//! What a session is given: live, behind, resumed, stalled.

use crate::doubles::{World, chat::NONCE, device::Device, store::event, until};
use bytes::Bytes;
use heddle_proto::{
    internal::{EdgeResponse, MailboxHead, command::Op, read::Query},
    v1::{Cursor, GoAwayReason, event::Kind, message::Content, open_session_response::Frame},
};

fn at(position: u64) -> Option<Cursor> {
    Some(Cursor {
        position,
        nonce: NONCE,
    })
}

/// So many messages of bob's, which the store has.
fn stored(world: &World, count: u64) -> Vec<Bytes> {
    let bodies: Vec<_> = (1..=count).map(|seq| event(seq, "bob", 10)).collect();
    bodies
        .iter()
        .for_each(|body| assert!(world.store.append(body.clone()) > 0));
    bodies
}

#[tokio::test]
async fn live_events_arrive_in_order_with_the_position_before() {
    let world = World::new().await;
    let (mut device, session) = Device::open(&world, "ann").await;
    for position in 1..=3 {
        let body = event(position, "bob", 10);
        world.store.append(body.clone());
        world.chat.deliver(&[session], position, body).await;
        assert_eq!(device.event().await, (position, position - 1));
    }
    assert!(world.store.queries().is_empty(), "nothing was missing");
}

#[tokio::test]
async fn a_lost_delivery_is_read_from_the_store() {
    let world = World::new().await;
    let (mut device, session) = Device::open(&world, "ann").await;
    let bodies = stored(&world, 3);
    world.chat.deliver(&[session], 1, bodies[0].clone()).await;
    world.chat.deliver(&[session], 3, bodies[2].clone()).await;
    for position in 1..=3 {
        assert_eq!(device.event().await, (position, position - 1));
    }
}

/// Else a busy session that is behind once would read each of its events from then on.
#[tokio::test]
async fn what_comes_while_a_session_reads_is_not_read_again() {
    let world = World::new().await;
    let (mut device, session) = Device::open(&world, "ann").await;
    let (mut other, of_other) = Device::open(&world, "eve").await;
    let bodies = stored(&world, 3);
    let held = world.store.hold().await;
    world.chat.deliver(&[session], 2, bodies[1].clone()).await;
    until("the session reads", || world.store.queries().len() == 1).await;
    world.chat.deliver(&[session], 3, bodies[2].clone()).await;
    // What comes over the same link after that: the third is there.
    world.chat.deliver(&[of_other], 1, bodies[0].clone()).await;
    assert_eq!(other.event().await, (1, 0));
    drop(held);
    for position in 1..=3 {
        assert_eq!(device.event().await, (position, position - 1));
    }
    assert_eq!(world.store.queries().len(), 1);
}

/// Its page was read before the erasure, and arrives long after (P10).
#[tokio::test]
async fn what_is_erased_while_a_session_reads_is_not_given() {
    let world = World::new().await;
    let (mut device, session) = Device::open(&world, "ann").await;
    let (mut other, of_other) = Device::open(&world, "eve").await;
    let bodies = stored(&world, 4);
    let held = world.store.hold().await;
    let deliver = async |position: usize| {
        let body = bodies[position - 1].clone();
        world.chat.deliver(&[session], position as u64, body).await;
    };
    deliver(2).await;
    until("the session reads", || world.store.queries().len() == 1).await;
    deliver(3).await;
    let erasure = bodies[3].clone();
    // Who left since is not due the erasure, and hears of it below all positions.
    for (position, erased_seq) in [(4, 1), (0, 3)] {
        let erasure = erasure.clone();
        world
            .chat
            .erase(&[session], position, erasure, erased_seq)
            .await;
    }
    // What comes over the same link after that: the erasures are there.
    world.chat.deliver(&[of_other], 1, erasure).await;
    assert_eq!(other.event().await, (1, 0));
    drop(held);
    for (position, erased) in [(1, true), (2, false), (3, true)] {
        let Some(Frame::Event(given)) = device.next().await else {
            panic!("no event")
        };
        assert_eq!(given.cursor, at(position));
        let kind = given.event.and_then(|event| event.kind);
        let Some(Kind::Message(message)) = kind else {
            panic!("{kind:?}")
        };
        let is_erased = matches!(message.content, Some(Content::Erased(_)));
        assert_eq!(is_erased, erased, "{position}");
    }
}

#[tokio::test]
async fn the_heartbeat_heals_a_lost_last_delivery() {
    let world = World::new().await;
    let (mut device, session) = Device::open(&world, "ann").await;
    world.store.append(event(1, "bob", 10));
    let head = MailboxHead {
        session_ids: vec![session],
        position: 1,
        nonce: NONCE,
    };
    world
        .chat
        .send(EdgeResponse {
            heads: vec![head],
            ..Default::default()
        })
        .await;
    assert_eq!(device.event().await, (1, 0));
}

#[tokio::test]
async fn a_resumed_session_gets_what_it_missed_and_then_is_told() {
    let world = World::new().await;
    for seq in 1..=5 {
        world.store.append(event(seq, "bob", 10));
    }
    world.chat.head(5);
    let (mut device, _) = Device::open_from(&world, "ann", at(2)).await;
    for position in 3..=5 {
        assert_eq!(device.event().await, (position, position - 1));
    }
    let Some(Frame::CaughtUp(caught_up)) = device.next().await else {
        panic!("no word")
    };
    assert_eq!(caught_up.cursor, at(5));
}

#[tokio::test]
async fn a_device_that_does_not_acknowledge_holds_a_window_and_loses_nothing() {
    let world = World::with(|options| options.limits.unacknowledged_bytes_max = 4_096).await;
    let (mut device, session) = Device::open(&world, "ann").await;
    const EVENTS: u64 = 40;
    for position in 1..=EVENTS {
        let body = event(position, "bob", 1_000);
        world.store.append(body.clone());
        world.chat.deliver(&[session], position, body).await;
    }
    let mut given = 0;
    for _ in 0..3 {
        given = device.event().await.0;
    }
    let saw = |queries: Vec<Query>| queries.len();
    assert_eq!(
        (given, saw(world.store.queries())),
        (3, 0),
        "three fit, and no more are read"
    );
    while given < EVENTS {
        device.ack(given).await;
        given = device.event().await.0;
    }
    for query in world.store.queries() {
        let Query::Mailbox(query) = query else {
            panic!("only mailboxes are read")
        };
        assert!(
            query.bytes_max <= 4_096,
            "reads fit the window: {}",
            query.bytes_max
        );
    }
}

#[tokio::test]
async fn a_read_that_fails_is_tried_again() {
    let world = World::new().await;
    world.store.append(event(1, "bob", 10));
    world.store.fail(2);
    world.chat.head(1);
    let (mut device, _) = Device::open_from(&world, "ann", at(0)).await;
    assert_eq!(device.event().await, (1, 0));
    assert_eq!(world.store.queries().len(), 3);
}

#[tokio::test]
async fn what_has_expired_sends_the_device_back_to_resume() {
    let world = World::new().await;
    world.chat.head(7);
    let (mut device, _) = Device::open_from(&world, "ann", at(3)).await;
    assert_eq!(device.gone().await, GoAwayReason::Resume);
}

#[tokio::test]
async fn acknowledgements_reach_mailbox_and_conversation_coalesced() {
    let world = World::new().await;
    let (mut device, session) = Device::open(&world, "ann").await;
    for position in 1..=4 {
        world
            .chat
            .deliver(&[session], position, event(position, "bob", 10))
            .await;
        device.event().await;
    }
    device.ack(2).await;
    device.ack(4).await;
    let acked = |command: &heddle_proto::internal::Command| match &command.op {
        Some(Op::Ack(ack)) => Some((ack.position, ack.foreground, command.id)),
        _ => None,
    };
    assert_eq!(
        world.chat.saw("the acknowledgement", acked).await,
        (4, true, 0)
    );
    let marked = |command: &heddle_proto::internal::Command| match &command.op {
        Some(Op::Mark(mark)) => Some((mark.delivered_seq, command.log_id.clone())),
        _ => None,
    };
    let (delivered, log) = world.chat.saw("the mark", marked).await;
    assert_eq!((delivered, log.as_ref()), (4, &[9; 16][..]));
    let commands = world.chat.seen();
    assert_eq!(commands.iter().filter_map(acked).count(), 1, "coalesced");
}

#[tokio::test]
async fn all_sessions_behind_read_in_turn_and_to_the_end() {
    let world = World::with(|options| options.catch_up_reads_max = 2).await;
    for seq in 1..=20 {
        world.store.append(event(seq, "bob", 10));
    }
    world.chat.head(20);
    let mut devices = Vec::new();
    for user in 0..10 {
        devices.push(
            Device::open_from(&world, &format!("user{user}"), at(0))
                .await
                .0,
        );
    }
    for device in &mut devices {
        for position in 1..=20 {
            assert_eq!(device.event().await.0, position);
        }
    }
    until("all are open", || world.gateway.sessions() == 10).await;
}
