//! Owners that change: commands wait and go on in order, sessions attach again.

use crate::doubles::{
    World,
    chat::{Chat, owner_changing},
    device::{Device, text},
    store::event,
    until,
};
use heddle_proto::{
    errors::Fault,
    internal::{
        AppendResult, Command, CommandResult, EdgeResponse, HeadResult, append_command,
        command::Op, command_result::Outcome as Word,
    },
    v1::{
        ErrorReason, GoAwayReason, Message, ResumeOutcome, message::Content,
        open_session_request::Frame as Up, result::Outcome,
    },
};
use prost::Message as _;

fn said(command: &Command) -> Option<String> {
    let Some(Op::Append(append)) = &command.op else {
        return None;
    };
    let Some(append_command::Kind::Message(bytes)) = &append.kind else {
        return None;
    };
    match Message::decode(bytes.clone()).unwrap().content {
        Some(Content::Text(text)) => Some(text),
        _ => None,
    }
}

/// The next answer, which is that a message is stored: to which request, and its seq.
async fn sent(device: &mut Device) -> (u64, u64) {
    let (request_id, outcome) = device.result().await;
    let Ok(Outcome::Send(sent)) = outcome else {
        panic!("{outcome:?}")
    };
    (request_id, sent.seq)
}

#[tokio::test]
async fn sends_wait_for_a_new_owner_and_keep_their_order() {
    let world = World::new().await;
    let (mut device, _) = Device::open(&world, "ann").await;
    let mut refusals = 2;
    world.chat.script(move |command| {
        said(command)?;
        refusals -= i32::from(refusals > 0);
        (refusals > 0).then(owner_changing)
    });
    for number in 1..=6 {
        device
            .send(number, Up::Send(text(&world, &number.to_string())))
            .await;
    }
    let mut answers = Vec::new();
    for _ in 0..6 {
        let (request_id, seq) = sent(&mut device).await;
        answers.push((seq, request_id));
    }
    answers.sort_unstable();
    assert_eq!(answers.len(), 6);
}

#[tokio::test]
async fn what_a_dead_node_had_in_hand_is_asked_again_in_order() {
    let world = World::new().await;
    let (mut device, _) = Device::open(&world, "ann").await;
    world.chat.silent(true);
    for number in 1..=5 {
        device
            .send(number, Up::Send(text(&world, &number.to_string())))
            .await;
    }
    until("all have arrived", || {
        world.chat.seen().iter().filter_map(said).count() == 5
    })
    .await;
    world.chat.silent(false);
    world.chat.die();
    for number in 1..=5 {
        assert_eq!(sent(&mut device).await, (number, number), "order is kept");
    }
    assert_eq!(world.chat.streams(), 2);
}

#[tokio::test]
async fn sessions_attach_again_from_where_they_are() {
    let world = World::new().await;
    let (mut device, session) = Device::open(&world, "ann").await;
    for position in 1..=2 {
        let body = event(position, "bob", 10);
        world.store.append(body.clone());
        world.chat.deliver(&[session], position, body).await;
        device.event().await;
    }
    world.store.append(event(3, "bob", 10));
    world.chat.head(3);
    world.chat.die();
    assert_eq!(device.event().await, (3, 2), "what came in between is read");
    let attaches: Vec<_> = world
        .chat
        .seen()
        .iter()
        .filter_map(|command| match &command.op {
            Some(Op::Attach(attach)) => Some(attach.resume.map(|cursor| cursor.position)),
            _ => None,
        })
        .collect();
    assert_eq!(attaches, [None, Some(2)]);
}

#[tokio::test]
async fn a_place_that_the_new_owner_does_not_know_sends_the_device_to_resume() {
    let world = World::new().await;
    let (mut device, _) = Device::open(&world, "ann").await;
    world.chat.script(|command| match &command.op {
        Some(Op::Attach(_)) => {
            let outcome = ResumeOutcome::Reset.into();
            Some(Word::Head(HeadResult {
                head: None,
                outcome,
            }))
        }
        _ => None,
    });
    world.chat.die();
    assert_eq!(device.gone().await, GoAwayReason::Resume);
}

#[tokio::test]
async fn without_an_owner_a_send_fails_after_a_bounded_wait() {
    let world = World::with(|options| options.hold_max_ms = 150).await;
    let (mut device, _) = Device::open(&world, "ann").await;
    world
        .chat
        .script(|command| said(command).map(|_| owner_changing()));
    device.send(1, Up::Send(text(&world, "x"))).await;
    let (request_id, outcome) = device.result().await;
    let error = outcome.unwrap_err();
    assert_eq!(
        (request_id, error.reason()),
        (1, ErrorReason::OwnerChanging)
    );
    assert!(error.retry_delay.is_some());
}

#[tokio::test]
async fn shards_that_move_take_sessions_and_unanswered_commands_along_in_order() {
    let world = World::new().await;
    let (mut device, _) = Device::open(&world, "ann").await;
    world.chat.silent(true);
    for number in 1..=4 {
        let frame = Up::Send(text(&world, &number.to_string()));
        device.send(number, frame).await;
    }
    until("all have arrived", || {
        world.chat.seen().iter().filter_map(said).count() == 4
    })
    .await;
    world.other.own(&[0, 1]).await;
    world.chat.own(&[]).await;
    device.send(5, Up::Send(text(&world, "5"))).await;
    for number in 1..=5 {
        assert_eq!(sent(&mut device).await, (number, number), "order is kept");
    }
    let attached = |command: &Command| matches!(&command.op, Some(Op::Attach(_))).then_some(());
    world.other.saw("the session's attach", attached).await;
    assert_eq!(
        world.chat.streams(),
        1,
        "a node that gives all away stays connected"
    );
}

/// A send that its owner does not answer before it goes to the next one, which does not either.
async fn asked_twice(world: &World, device: &Device) {
    world.chat.silent(true);
    world.other.silent(true);
    device.send(1, Up::Send(text(world, "1"))).await;
    world.chat.saw("the send", said).await;
    world.other.own(&[0, 1]).await;
    world.other.saw("the send", said).await;
}

/// An owner's answer to the only command with a text that it has seen.
async fn answers(owner: &Chat, outcome: Word) {
    let id = owner.saw("it", |command| said(command).map(|_| command.id));
    let results = vec![CommandResult {
        id: id.await,
        outcome: Some(outcome),
    }];
    let frame = EdgeResponse {
        results,
        ..Default::default()
    };
    owner.send(frame).await;
}

#[tokio::test]
async fn a_former_owners_refusal_no_longer_counts_once_the_next_one_was_asked() {
    let world = World::new().await;
    let (mut device, session) = Device::open(&world, "ann").await;
    asked_twice(&world, &device).await;
    let refusal = Fault::new(ErrorReason::NotFound, "left").to_wire();
    answers(&world.chat, Word::Error(refusal)).await;
    // Behind the refusal: the device would have that first.
    world.chat.deliver(&[session], 1, event(1, "bob", 10)).await;
    assert_eq!(device.event().await, (1, 0));
    let stored = Word::Append(AppendResult { seq: 7, time_ms: 1 });
    answers(&world.other, stored).await;
    assert_eq!(sent(&mut device).await, (1, 7));
}

#[tokio::test]
async fn a_former_owners_ok_counts_whoever_was_asked_since() {
    let world = World::new().await;
    let (mut device, _) = Device::open(&world, "ann").await;
    asked_twice(&world, &device).await;
    let stored = Word::Append(AppendResult { seq: 7, time_ms: 1 });
    answers(&world.chat, stored).await;
    assert_eq!(sent(&mut device).await, (1, 7));
}

#[tokio::test]
async fn when_one_of_two_nodes_dies_what_it_had_waits_for_the_other() {
    let world = World::new().await;
    let (mut device, _) = Device::open(&world, "ann").await;
    world.chat.silent(true);
    device.send(1, Up::Send(text(&world, "1"))).await;
    until("it has arrived", || {
        world.chat.seen().iter().filter_map(said).count() == 1
    })
    .await;
    world.chat.own(&[]).await;
    world.chat.die();
    world.other.own(&[0, 1]).await;
    device.send(2, Up::Send(text(&world, "2"))).await;
    for number in 1..=2 {
        assert_eq!(sent(&mut device).await, (number, number));
    }
}
