//! The gateway's own message: heard, or lost at one of its steps.

use crate::{
    canary::round::{Canary, Step},
    doubles::{World, until},
};
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    ids,
    internal::{
        Command, RawEvent, append_command::Kind, command::Op, command_result::Outcome as Word,
    },
    v1::ErrorReason,
};
use prost::Message as _;

/// The id of what a command says.
fn said(command: &Command) -> Option<Bytes> {
    match &command.op {
        Some(Op::Append(append)) if matches!(append.kind, Some(Kind::Message(_))) => {
            Some(append.client_message_id.clone())
        }
        _ => None,
    }
}

/// The session that a command attaches, of the user who hears.
fn ear(command: &Command) -> Option<u64> {
    match &command.op {
        Some(Op::Attach(attach)) if command.user_id.ends_with(":to") => Some(attach.session_id),
        _ => None,
    }
}

fn event(client_message_id: Bytes) -> Bytes {
    let event = RawEvent {
        client_message_id,
        ..Default::default()
    };
    event.encode_to_vec().into()
}

/// Where a round fails when the chat node answers so.
async fn lost_at(world: &World) -> Step {
    let mut canary = Canary::new(world.gateway.edge().clone());
    let lost = canary.round().await.unwrap_err();
    until("both sessions have ended", || world.gateway.sessions() == 0).await;
    lost.step
}

async fn impatient() -> World {
    World::with(|options| options.canary_timeout_ms = 100).await
}

fn refusal() -> Word {
    Word::Error(Fault::new(ErrorReason::Overloaded, "not now").to_wire())
}

#[tokio::test]
async fn its_own_message_is_heard_among_others() {
    let world = World::new().await;
    let mut canary = Canary::new(world.gateway.edge().clone());
    let delivering = async {
        let id = world.chat.saw("the message", said).await;
        let session = world.chat.saw("who hears", ear).await;
        let (other, own) = (event(world.message_id()), event(id));
        world.chat.deliver(&[session], 1, other).await;
        world.chat.deliver(&[session], 2, own).await;
    };
    let (round, ()) = tokio::join!(canary.round(), delivering);
    assert!(round.is_ok(), "{round:?}");
    until("both sessions have ended", || world.gateway.sessions() == 0).await;
    let seen = world.chat.seen();
    assert!(
        seen.iter().all(|command| ids::is_reserved(&command.user_id)
            && !matches!(command.op, Some(Op::Ack(_) | Op::Mark(_)))),
        "it speaks for nobody else, and leaves no marks: {seen:?}"
    );
}

#[tokio::test]
async fn an_owner_that_does_not_answer_is_a_failure() {
    let world = impatient().await;
    world.chat.silent(true);
    assert_eq!(lost_at(&world).await, Step::Conversation);
}

#[tokio::test]
async fn a_mailbox_that_does_not_attach_is_a_failure() {
    let world = impatient().await;
    world.chat.script(|command| ear(command).map(|_| refusal()));
    assert_eq!(lost_at(&world).await, Step::Session);
}

#[tokio::test]
async fn a_message_that_is_refused_is_a_failure() {
    let world = impatient().await;
    world
        .chat
        .script(|command| said(command).map(|_| refusal()));
    assert_eq!(lost_at(&world).await, Step::Send);
}

#[tokio::test]
async fn a_message_that_does_not_arrive_is_a_failure() {
    let world = impatient().await;
    assert_eq!(lost_at(&world).await, Step::Delivery);
}
