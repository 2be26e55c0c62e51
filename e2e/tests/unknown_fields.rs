//! A newer client's field, unknown to this server, survives it byte for byte (DESIGN section 3,
//! "encode once": an older binary never erases a newer field).

use bytes::Bytes;
use heddle_e2e::{
    Raw, World,
    people::id_of,
    raw,
    wire::{self, Stream},
    world::Failure,
};
use heddle_proto::internal::{
    RawOpenSessionRequest, RawSendMessageRequest, raw_open_session_request::Frame as Up,
};
use heddle_sdk::{ConversationId, text, v1};
use prost::{Message as _, encoding};
use serde_json::json;
use v1::open_session_response::Frame as Down;

/// A message of two years from now, as bytes: texts, a number and a structure that nobody here
/// knows.
fn from_the_future(words: &str) -> Bytes {
    let mut bytes = text(words).encode_to_vec();
    encoding::string::encode(100, &"unknown to this server".to_owned(), &mut bytes);
    encoding::uint64::encode(2_000, &u64::MAX, &mut bytes);
    encoding::message::encode(50_000, &text("nested"), &mut bytes);
    bytes.into()
}

fn holds(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

fn send(to: ConversationId, message: &Bytes) -> RawSendMessageRequest {
    RawSendMessageRequest {
        conversation_id: to.to_bytes(),
        client_message_id: wire::mint().to_bytes(),
        message: message.clone(),
        ..Default::default()
    }
}

/// Waits for the event with this seq; the bytes of its frame.
async fn arrives(session: &mut Raw, seq: u64) -> Bytes {
    let at = |came: &raw::Came| match &came.frame {
        Down::Event(delivery) if delivery.event.as_ref()?.seq == seq => Some(came.bytes.clone()),
        _ => None,
    };
    session.until(&format!("event {seq}"), at).await
}

/// Live, by resume, from history, by call, and after a restart: the same bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_fields_survive_on_every_way() -> Result<(), Failure> {
    let mut world = World::start().await?;
    let token = |world: &World, user: &str| world.signer.token(user, json!({}));
    let (alice_token, bob_token) = (token(&world, "alice"), token(&world, "bob"));
    let client = world.client("alice", "laptop").await?;
    let talk = id_of(&client.create_direct("bob").await?)?;
    let mut alice = Raw::session(&world.url(), &alice_token, "phone").await?;
    let mut bob = Raw::session(&world.url(), &bob_token, "phone").await?;

    let (framed, called) = (from_the_future("by frame"), from_the_future("by call"));
    let frame = Some(Up::Send(send(talk, &framed)));
    alice
        .push_bytes(
            RawOpenSessionRequest {
                request_id: 7,
                frame,
            }
            .encode_to_vec(),
        )
        .await;
    alice.answer(7).await?;
    assert!(holds(&arrives(&mut bob, 2).await, &framed), "live");
    let method = "/heddle.v1.MessagingService/SendMessage";
    let message = send(talk, &called).encode_to_vec().into();
    raw::call(
        raw::connect(&world.url()).await?,
        method,
        message,
        &alice_token,
    )
    .await?;
    assert!(
        holds(&arrives(&mut bob, 3).await, &called),
        "live, sent by call"
    );

    client.react(talk, 2, "heart", false).await?;
    for when in ["before a restart", "after it"] {
        let mut again = Raw::session(&world.url(), &bob_token, "tablet").await?;
        assert!(
            holds(&arrives(&mut again, 2).await, &framed),
            "resume {when}"
        );
        assert!(
            holds(&arrives(&mut again, 3).await, &called),
            "resume {when}"
        );
        let request = v1::ListHistoryRequest {
            conversation_id: talk.to_bytes(),
            ..Default::default()
        };
        let method = "/heddle.v1.HistoryService/ListHistory";
        let request = request.encode_to_vec().into();
        let channel = raw::connect(&world.url()).await?;
        let page = raw::call(channel, method, request, &bob_token).await?;
        assert!(
            holds(&page, &framed) && holds(&page, &called),
            "history {when}"
        );
        drop(again);
        world.restart().await?;
    }
    world.stop().await;
    Ok(())
}

/// The clients of today read such a message as if the new fields were not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn todays_clients_are_not_disturbed() -> Result<(), Failure> {
    let world = World::start().await?;
    let mut bob = world.person("bob", "phone").await?;
    let client = world.client("alice", "laptop").await?;
    let talk = id_of(&client.create_direct("bob").await?)?;
    let message = send(talk, &from_the_future("hello")).encode_to_vec().into();
    let token = world.signer.token("alice", json!({}));
    let method = "/heddle.v1.MessagingService/SendMessage";
    raw::call(raw::connect(&world.url()).await?, method, message, &token).await?;
    assert_eq!(bob.hears("hello").await, 2);
    let bobs = wire::Device::connect(&world, "bob", "laptop").await?;
    let mut stream: Stream = bobs.session(Some(v1::Cursor::default())).await?;
    stream.until("the message", wire::message_of).await;
    world.stop().await;
    Ok(())
}
