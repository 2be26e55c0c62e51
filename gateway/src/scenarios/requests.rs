//! What a device asks for, in order and out of it.

use crate::doubles::{
    World,
    device::{Device, hello, text},
};
use bytes::Bytes;
use heddle_proto::{
    internal::{append_command, command::Op},
    v1::{
        self, ErrorReason, open_session_request::Frame as Up, open_session_response::Frame,
        result::Outcome,
    },
};
use prost::Message as _;
use tonic::Code;

#[tokio::test]
async fn a_send_goes_on_as_its_bytes_and_is_answered() {
    let world = World::new().await;
    let (mut device, _) = Device::open(&world, "ann").await;
    let send = text(&world, "hello");
    let bytes = send.message.as_ref().unwrap().encode_to_vec();
    device.send(7, Up::Send(send)).await;
    let (request_id, outcome) = device.result().await;
    let Ok(Outcome::Send(sent)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((request_id, sent.seq), (7, 1));
    let appended = world.chat.saw("the append", |command| match &command.op {
        Some(Op::Append(append)) => Some((append.clone(), command.clone())),
        _ => None,
    });
    let (append, command) = appended.await;
    assert_eq!(
        append.kind,
        Some(append_command::Kind::Message(Bytes::from(bytes)))
    );
    assert_eq!(
        (command.user_id.as_str(), command.device_id.as_str()),
        ("ann", "phone")
    );
}

#[tokio::test]
async fn what_comes_before_the_hello_or_twice_is_out_of_order() {
    let world = World::new().await;
    let mut device = Device::connect(&world).await;
    device.send(1, Up::Send(text(&world, "early"))).await;
    assert_eq!(
        device.receive().await.unwrap_err().code(),
        Code::FailedPrecondition
    );

    let (mut device, _) = Device::open(&world, "ann").await;
    device.send(2, hello(world.token("ann"), None)).await;
    let (_, outcome) = device.result().await;
    assert_eq!(outcome.unwrap_err().reason(), ErrorReason::OutOfOrder);
    device.send(3, Up::Send(text(&world, "still here"))).await;
    assert!(device.result().await.1.is_ok());
}

#[tokio::test]
async fn a_kind_unknown_is_refused_and_the_session_goes_on() {
    let world = World::new().await;
    let (mut device, _) = Device::open(&world, "ann").await;
    device.send_unknown(1).await;
    let (request_id, outcome) = device.result().await;
    let error = outcome.unwrap_err();
    assert_eq!((request_id, error.reason()), (1, ErrorReason::InvalidField));
    assert_eq!(error.field, "frame");
    device.send(2, Up::Ping(v1::PingRequest::default())).await;
    assert!(matches!(device.result().await, (2, Ok(Outcome::Ping(_)))));
}

/// Sends that are refused, and the field that is named.
fn bad_sends(world: &World) -> Vec<(Up, &'static str)> {
    vec![
        (
            Up::Send(v1::SendMessageRequest {
                message: None,
                ..text(world, "x")
            }),
            "send.message",
        ),
        (
            Up::Send(v1::SendMessageRequest {
                conversation_id: Bytes::new(),
                ..text(world, "x")
            }),
            "send.conversation_id",
        ),
        (
            Up::Send(v1::SendMessageRequest {
                predecessor_id: Bytes::from_static(b"x"),
                ..text(world, "x")
            }),
            "send.predecessor_id",
        ),
    ]
}

/// Other frames that are refused, and the field that is named.
fn bad_frames(world: &World) -> Vec<(Up, &'static str)> {
    let id = world.message_id();
    let conversation = Bytes::from_static(&[9; 16]);
    vec![
        (Up::Mark(v1::MarkRequest::default()), "mark.conversation_id"),
        (
            Up::React(v1::ReactRequest {
                conversation_id: conversation.clone(),
                client_message_id: id.clone(),
                target_seq: 1,
                key: "x".repeat(65),
                remove: false,
            }),
            "react.key",
        ),
        (
            Up::Hide(v1::HideMessagesRequest {
                conversation_id: conversation.clone(),
                seqs: vec![1; 101],
            }),
            "hide.seqs",
        ),
        (
            Up::Signal(v1::SendSignalRequest {
                conversation_id: conversation.clone(),
                r#type: "ring".into(),
                payload: vec![0; 4097].into(),
                user_ids: vec![],
            }),
            "signal.payload",
        ),
        (
            Up::Watch(v1::WatchPresenceRequest {
                user_ids: vec!["x".into(); 501],
                ..Default::default()
            }),
            "watch.user_ids",
        ),
        (
            Up::Status(v1::SetStatusRequest {
                status: "x".repeat(201),
                presence_hidden: false,
            }),
            "status.status",
        ),
        (
            Up::Ack(v1::AckRequest {
                position: 9,
                ..Default::default()
            }),
            "ack.position",
        ),
        (
            Up::Erase(v1::EraseMessageRequest {
                conversation_id: conversation,
                client_message_id: id,
                target_seq: 0,
            }),
            "erase.target_seq",
        ),
    ]
}

#[tokio::test]
async fn bad_frames_name_their_field_and_reach_nobody() {
    let world = World::new().await;
    let (mut device, session) = Device::open(&world, "ann").await;
    let frames = bad_sends(&world).into_iter().chain(bad_frames(&world));
    let before = world.chat.seen().len();
    for (number, (frame, field)) in (1..).zip(frames) {
        device.send(number, frame).await;
        let (request_id, outcome) = device.result().await;
        let error = outcome.unwrap_err();
        assert_eq!(
            (request_id, error.reason()),
            (number, ErrorReason::InvalidField),
            "{field}"
        );
        assert_eq!(error.field, field);
    }
    assert_eq!(world.chat.seen().len(), before, "session {session}");
}

#[tokio::test]
async fn one_request_too_many_is_refused_and_the_others_are_not() {
    let world = World::with(|options| options.limits.in_flight_max = 2).await;
    let (mut device, _) = Device::open(&world, "ann").await;
    world.chat.silent(true);
    for request_id in 1..=3 {
        device.send(request_id, Up::Send(text(&world, "x"))).await;
    }
    let (request_id, outcome) = device.result().await;
    let error = outcome.unwrap_err();
    assert_eq!(
        (request_id, error.reason()),
        (3, ErrorReason::TooManyInFlight)
    );
}

#[tokio::test]
async fn a_device_that_floods_is_told_to_slow_down() {
    let world = World::with(|options| {
        options.rates.device_per_second = 1;
        options.rates.device_burst = 3;
    })
    .await;
    let (mut device, _) = Device::open(&world, "ann").await;
    let mut refused = 0;
    for request_id in 1..=5 {
        device
            .send(request_id, Up::Ping(v1::PingRequest::default()))
            .await;
        if let Err(error) = device.result().await.1 {
            assert_eq!(error.reason(), ErrorReason::RateLimited);
            assert!(error.retry_delay.is_some());
            refused += 1;
        }
    }
    assert!(refused >= 2, "{refused}");
}

#[tokio::test]
async fn without_a_good_token_no_session_opens() {
    let world = World::new().await;
    for token in ["", "rubbish"] {
        let mut device = Device::connect(&world).await;
        device.send(0, hello(token.into(), None)).await;
        assert_eq!(
            device.receive().await.unwrap_err().code(),
            Code::Unauthenticated
        );
    }
    let mut device = Device::connect(&world).await;
    let long = v1::Hello {
        token: world.token("ann"),
        device_id: "x".repeat(129),
        ..Default::default()
    };
    device.send(0, Up::Hello(long)).await;
    assert_eq!(
        device.receive().await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn who_says_nothing_is_cut_off() {
    let world = World::with(|options| options.hello_timeout_ms = 20).await;
    let mut device = Device::connect(&world).await;
    assert_eq!(
        device.receive().await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
}

#[tokio::test]
async fn typing_is_passed_on_and_dropped_in_the_background() {
    let world = World::new().await;
    let (mut device, session) = Device::open(&world, "ann").await;
    let typing = heddle_proto::internal::Ephemeral {
        session_ids: vec![session],
        kind: Some(heddle_proto::internal::ephemeral::Kind::Typing(
            v1::Typing::default(),
        )),
    };
    let frame = heddle_proto::internal::EdgeResponse {
        ephemerals: vec![typing],
        ..Default::default()
    };
    world.chat.send(frame.clone()).await;
    assert!(matches!(device.next().await, Some(Frame::Typing(_))));
    let background = v1::SetForegroundRequest {
        foreground: false,
        ..Default::default()
    };
    device.send(1, Up::Foreground(background)).await;
    assert!(matches!(
        device.result().await,
        (1, Ok(Outcome::Foreground(_)))
    ));
    world.chat.send(frame).await;
    device.send(2, Up::Ping(v1::PingRequest::default())).await;
    assert!(matches!(device.result().await, (2, Ok(Outcome::Ping(_)))));
}
