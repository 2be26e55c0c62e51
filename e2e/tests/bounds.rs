//! Bounds: what each field may hold, and one more. A clear status names the field, and nothing is
//! stored (issue section 3).

use bytes::Bytes;
use heddle_e2e::{Raw, World, people::id_of, raw, wire, world::Failure};
use heddle_sdk::{ConversationId, Error, Reason, text, v1};
use serde_json::json;
use tonic::Code;
use v1::{message::Content, open_session_request::Frame as Up, result::Outcome};

/// Four bytes in UTF-8, one character.
const THREAD: &str = "\u{1f9f5}";

/// Alice's session, and her conversation with bob.
async fn session(world: &World) -> Result<(Raw, ConversationId), Failure> {
    let token = world.signer.token("alice", json!({}));
    let client = world.client("alice", "laptop").await?;
    let talk = id_of(&client.create_direct("bob").await?)?;
    Ok((Raw::session(&world.url(), &token, "phone").await?, talk))
}

fn send(to: ConversationId, message: v1::Message) -> Up {
    let send = wire::send_of(to, &wire::mint(), "");
    Up::Send(v1::SendMessageRequest {
        message: Some(message),
        ..send
    })
}

fn with(change: impl FnOnce(&mut v1::Message)) -> v1::Message {
    let mut message = text("hello");
    change(&mut message);
    message
}

fn metadata(entries: usize, value_bytes: usize) -> v1::Message {
    let entry = |number| (format!("{number:02}"), "x".repeat(value_bytes));
    with(|message| message.metadata = (0..entries).map(entry).collect())
}

fn custom(type_bytes: usize, payload_bytes: usize) -> v1::Message {
    let (r#type, payload) = ("x".repeat(type_bytes), vec![7; payload_bytes].into());
    let content = Content::Custom(v1::Custom { r#type, payload });
    with(|message| message.content = Some(content))
}

fn mentions(count: usize, length: u32) -> v1::Message {
    let mention = v1::Mention {
        user_id: "bob".into(),
        start: 0,
        length,
    };
    with(|message| message.mentions = vec![mention; count])
}

/// Within a bound, beyond it, and the field that is named then.
fn message_bounds() -> Vec<(v1::Message, v1::Message, &'static str)> {
    let fallback = |count| with(|message| message.fallback_text = THREAD.repeat(count));
    let reply = |seq| with(|message| message.reply_to_seq = seq);
    vec![
        (
            text("x".repeat(100_000)),
            text("x".repeat(100_001)),
            "send.message.text",
        ),
        (
            text(THREAD.repeat(100_000)),
            text(THREAD.repeat(100_001)),
            "send.message.text",
        ),
        (text("x"), text(""), "send.message.text"),
        (
            fallback(1_000),
            fallback(1_001),
            "send.message.fallback_text",
        ),
        (metadata(32, 1), metadata(33, 1), "send.message.metadata"),
        (
            metadata(32, 126),
            metadata(32, 127),
            "send.message.metadata",
        ),
        (mentions(100, 5), mentions(101, 5), "send.message.mentions"),
        (mentions(1, 5), mentions(1, 6), "send.message.mentions[0]"),
        (custom(128, 0), custom(129, 0), "send.message.custom.type"),
        (
            custom(1, 65_536),
            custom(1, 65_537),
            "send.message.custom.payload",
        ),
        (
            reply((1 << 53) - 1),
            reply(1 << 53),
            "send.message.reply_to_seq",
        ),
    ]
}

/// What a message may hold, to the character; characters of four bytes count once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bound_of_a_message_holds_on_both_sides() -> Result<(), Failure> {
    let world = World::start().await?;
    let (mut alice, talk) = session(&world).await?;
    let mut stored = 0;
    for (within, beyond, field) in message_bounds() {
        let answer = alice.ask(send(talk, within)).await;
        let Ok(Outcome::Send(sent)) = answer else {
            panic!("{field} within: {answer:?}")
        };
        stored += 1;
        assert_eq!(
            sent.seq,
            stored + 1,
            "{field}: nothing but what was taken is stored"
        );
        let error = alice.ask(send(talk, beyond)).await.expect_err(field);
        let told = (error.reason, error.code, &*error.field);
        assert_eq!(told, (Reason::InvalidField, Code::InvalidArgument, field));
    }
    let bob = world.client("bob", "phone").await?;
    assert_eq!(
        bob.conversation(talk)
            .await?
            .conversation
            .map(|it| it.head_seq),
        Some(stored + 1)
    );
    world.stop().await;
    Ok(())
}

/// The bytes of a text have a bound of their own, for deployments that count characters otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bytes_of_a_text_are_bounded_too() -> Result<(), Failure> {
    let world =
        World::start_with(|config| config.gateway.limits.text_chars_max = 1_000_000).await?;
    let (mut alice, talk) = session(&world).await?;
    alice.ask(send(talk, text(THREAD.repeat(100_000)))).await?;
    let error = alice
        .ask(send(talk, text("x".repeat(400_001))))
        .await
        .expect_err("too long");
    assert_eq!(&*error.field, "send.message.text");
    world.stop().await;
    Ok(())
}

/// A frame within a bound, one beyond it, and the field that is named then.
type Bound = (Up, Up, &'static str);

/// Marks, within and beyond.
fn mark_bounds(talk: ConversationId) -> Vec<Bound> {
    let mark = |conversation_id, read_seq| {
        Up::Mark(v1::MarkRequest {
            conversation_id,
            read_seq,
        })
    };
    let seq = |read_seq| mark(talk.to_bytes(), read_seq);
    let to = |bytes: &'static [u8]| mark(Bytes::from_static(bytes), 1);
    vec![
        (seq(1), seq(0), "mark.read_seq"),
        (seq(2), seq(1 << 53), "mark.read_seq"),
        (seq(1), to(&[7; 15]), "mark.conversation_id"),
        (seq(1), to(&[7; 17]), "mark.conversation_id"),
    ]
}

/// Frames other than sends and marks, within and beyond.
fn frame_bounds(talk: ConversationId) -> Vec<Bound> {
    let id = talk.to_bytes();
    let react = |key: usize| {
        Up::React(v1::ReactRequest {
            conversation_id: id.clone(),
            client_message_id: wire::mint().to_bytes(),
            target_seq: 2,
            key: "x".repeat(key),
            ..Default::default()
        })
    };
    let hide = |count| {
        let seqs = vec![2; count];
        Up::Hide(v1::HideMessagesRequest {
            conversation_id: id.clone(),
            seqs,
        })
    };
    let signal = |type_bytes, payload_bytes| {
        Up::Signal(v1::SendSignalRequest {
            conversation_id: id.clone(),
            r#type: "x".repeat(type_bytes),
            payload: vec![7; payload_bytes].into(),
            ..Default::default()
        })
    };
    let status = |count| {
        let status = THREAD.repeat(count);
        Up::Status(v1::SetStatusRequest {
            status,
            ..Default::default()
        })
    };
    let watch = |count, bytes| {
        let user_ids = vec!["x".repeat(bytes); count];
        Up::Watch(v1::WatchPresenceRequest {
            user_ids,
            ..Default::default()
        })
    };
    vec![
        (react(64), react(65), "react.key"),
        (react(1), react(0), "react.key"),
        (hide(100), hide(101), "hide.seqs"),
        (hide(1), hide(0), "hide.seqs"),
        (signal(128, 0), signal(129, 0), "signal.type"),
        (signal(1, 4_096), signal(1, 4_097), "signal.payload"),
        (status(200), status(201), "status.status"),
        (watch(500, 1), watch(501, 1), "watch.user_ids"),
        (watch(1, 128), watch(1, 129), "watch.user_ids[0]"),
    ]
}

/// The other frames' bounds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bound_of_the_other_frames_holds_on_both_sides() -> Result<(), Failure> {
    let world = World::start().await?;
    let (mut alice, talk) = session(&world).await?;
    alice.ask(send(talk, text("to react to"))).await?;
    for (within, beyond, field) in frame_bounds(talk).into_iter().chain(mark_bounds(talk)) {
        let answer = alice.ask(within).await;
        assert!(answer.is_ok(), "{field} within: {answer:?}");
        let error = alice.ask(beyond).await.expect_err(field);
        assert_eq!((error.reason, &*error.field), (Reason::InvalidField, field));
    }
    world.stop().await;
    Ok(())
}

/// The hello's bounds; a refused hello ends the stream with a status that names the field.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bound_of_the_hello_holds_on_both_sides() -> Result<(), Failure> {
    let world = World::start().await?;
    let token = world.signer.token("alice", json!({}));
    let hello = |device: usize, version: usize| v1::Hello {
        device_id: "d".repeat(device),
        app_version: "v".repeat(version),
        ..Default::default()
    };
    let cases = [
        (hello(128, 64), None),
        (hello(129, 64), Some("hello.device_id")),
        (hello(0, 64), Some("hello.device_id")),
        (hello(128, 65), Some("hello.app_version")),
    ];
    for (hello, field) in cases {
        let mut stream = Raw::open(raw::connect(&world.url()).await?, &token).await?;
        let refused = stream.hello(hello).await.err().map(Error::from);
        assert_eq!(refused.as_ref().map(|error| &*error.field), field);
        assert!(refused.is_none_or(|error| error.code == Code::InvalidArgument));
    }
    world.stop().await;
    Ok(())
}
