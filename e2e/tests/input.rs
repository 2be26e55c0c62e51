//! Bad input: frames out of order, unknown frames, garbage and ids that are not one's own. A clear
//! status, nothing stored, no error for anyone else (issue section 3).

use heddle_e2e::{Raw, World, people::id_of, raw, wire, world::Failure};
use heddle_sdk::{ConversationId, Reason, v1};
use prost::Message as _;
use serde_json::json;
use tonic::Code;
use v1::{open_session_request::Frame as Up, result::Outcome};

/// Alice's session, and her conversation with bob.
async fn session(world: &World) -> Result<(Raw, ConversationId), Failure> {
    let token = world.signer.token("alice", json!({}));
    let client = world.client("alice", "laptop").await?;
    let talk = id_of(&client.create_direct("bob").await?)?;
    Ok((Raw::session(&world.url(), &token, "phone").await?, talk))
}

fn send(to: ConversationId, words: &str) -> Up {
    Up::Send(wire::send_of(to, &wire::mint(), words))
}

/// Frames before the hello end the stream; a second hello is refused and the session goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_out_of_order_are_told() -> Result<(), Failure> {
    let world = World::start().await?;
    let (mut alice, talk) = session(&world).await?;
    let token = world.signer.token("alice", json!({}));
    let mut early = Raw::open(raw::connect(&world.url()).await?, &token).await?;
    early.push(1, send(talk, "before the hello")).await;
    let error = early.ended().await.expect_err("the stream ends");
    assert_eq!(
        (error.reason, error.code),
        (Reason::OutOfOrder, Code::FailedPrecondition)
    );
    let again = Up::Hello(v1::Hello {
        device_id: "phone".into(),
        ..Default::default()
    });
    let error = alice.ask(again).await.expect_err("a second hello");
    assert_eq!(
        (error.reason, error.code),
        (Reason::OutOfOrder, Code::FailedPrecondition)
    );
    let Outcome::Send(sent) = alice.ask(send(talk, "first")).await? else {
        panic!()
    };
    assert_eq!(sent.seq, 2, "the early send was not stored");
    world.stop().await;
    Ok(())
}

/// A frame of a kind from the future is refused by name; what is no frame ends that stream alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_frames_are_refused_and_garbage_ends_the_stream() -> Result<(), Failure> {
    let world = World::start().await?;
    let (mut alice, talk) = session(&world).await?;
    let mut unknown = v1::OpenSessionRequest {
        request_id: 99,
        frame: None,
    }
    .encode_to_vec();
    prost::encoding::string::encode(99, &"from the future".to_owned(), &mut unknown);
    alice.push_bytes(unknown).await;
    let error = alice.answer(99).await.expect_err("an unknown kind");
    assert_eq!(
        (error.reason, &*error.field),
        (Reason::InvalidField, "frame")
    );
    alice.ask(send(talk, "the session goes on")).await?;
    let token = world.signer.token("alice", json!({}));
    let mut other = Raw::session(&world.url(), &token, "tablet").await?;
    other.push_bytes(vec![0xff; 40]).await;
    let error = other.ended().await.expect_err("garbage");
    assert_eq!(
        (error.code, &*error.field),
        (Code::InvalidArgument, "frame")
    );
    alice.ask(send(talk, "and on")).await?;
    world.stop().await;
    Ok(())
}

/// What does not exist and what is not yours have one answer, to the letter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_ids_and_those_of_others_look_alike() -> Result<(), Failure> {
    let world = World::start().await?;
    let (mut alice, _) = session(&world).await?;
    let carol = world.client("carol", "phone").await?;
    let theirs = id_of(&carol.create_direct("dave").await?)?;
    let nowhere = ConversationId::from_wire(&[9; 16]).expect("16 bytes");
    let mut told = Vec::new();
    for id in [theirs, nowhere] {
        let error = alice.ask(send(id, "knock")).await.expect_err("not alice's");
        assert_eq!(
            (error.reason, error.code),
            (Reason::NotFound, Code::NotFound)
        );
        let client = world.client("alice", "laptop").await?;
        let unary = client.conversation(id).await.expect_err("not alice's");
        told.push((error, unary));
    }
    assert_eq!(told[0], told[1]);
    world.stop().await;
    Ok(())
}
