//! Unary calls: twins, history, conversations, lists.

use crate::doubles::{
    World,
    device::{Device, text},
    soon,
    store::event,
};
use bytes::Bytes;
use heddle_proto::{
    ids::LogId,
    internal::{
        Command, HeadResult, ListEntry, ListEntryResult, ListResult, append_command, command::Op,
        command_result::Outcome as Word,
    },
    v1::{
        self, ConversationKind, Cursor, ResumeOutcome,
        conversation_service_client::ConversationServiceClient,
        device_service_client::DeviceServiceClient, history_service_client::HistoryServiceClient,
        list_history_request::Anchor, messaging_service_client::MessagingServiceClient,
        open_session_response::Frame, user_service_client::UserServiceClient,
    },
};
use tonic::Code;

const CONVERSATION: Bytes = Bytes::from_static(&[9; 16]);

#[tokio::test]
async fn twins_say_what_frames_say() {
    let world = World::new().await;
    let mut client = MessagingServiceClient::new(world.link.clone());
    let sent = client
        .send_message(world.request("ann", text(&world, "hi")))
        .await
        .unwrap();
    assert_eq!(sent.into_inner().seq, 1);
    let long = text(&world, &"x".repeat(100_001));
    let refused = client
        .send_message(world.request("ann", long))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(
        refused.message().contains("message.text"),
        "{}",
        refused.message()
    );
    let anonymous = client.send_message(text(&world, "hi")).await.unwrap_err();
    assert_eq!(anonymous.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_subscription_is_acknowledged_by_calls() {
    let world = World::new().await;
    let mut client = MessagingServiceClient::new(world.link.clone());
    let request = world.request("ann", v1::SubscribeRequest::default());
    let mut frames = client.subscribe(request).await.unwrap().into_inner();
    let first = soon("a frame", frames.message())
        .await
        .unwrap()
        .unwrap()
        .frame
        .unwrap();
    let Some(Frame::Opened(opened)) = first.frame else {
        panic!("{first:?}")
    };
    let session = crate::doubles::device::session_id(&opened);
    let second = soon("a frame", frames.message())
        .await
        .unwrap()
        .unwrap()
        .frame
        .unwrap();
    assert!(matches!(second.frame, Some(Frame::CaughtUp(_))));
    world.chat.deliver(&[session], 1, event(1, "bob", 10)).await;
    let third = soon("a frame", frames.message())
        .await
        .unwrap()
        .unwrap()
        .frame
        .unwrap();
    assert!(matches!(third.frame, Some(Frame::Event(_))));
    let ack = |session_id: &str| v1::AckRequest {
        position: 1,
        session_id: session_id.into(),
        device_id: String::new(),
    };
    client
        .ack(world.request("ann", ack(&opened.session_id)))
        .await
        .unwrap();
    let acked = |command: &Command| matches!(command.op, Some(Op::Ack(_))).then_some(());
    world.chat.saw("the acknowledgement", acked).await;
    let others = client
        .ack(world.request("bob", ack(&opened.session_id)))
        .await
        .unwrap_err();
    assert_eq!(others.code(), Code::FailedPrecondition);
    let ping = v1::PingRequest {
        session_id: opened.session_id.clone(),
    };
    let pong = client
        .ping(world.request("ann", ping))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(pong.head.unwrap().position, 1);
}

#[tokio::test]
async fn events_are_listed_up_to_the_owners_head() {
    let world = World::new().await;
    for seq in 1..=5 {
        world.store.append(event(seq, "bob", 10));
    }
    world.chat.head(4);
    let mut client = MessagingServiceClient::new(world.link.clone());
    let request = v1::ListEventsRequest {
        after: None,
        page_size: 3,
    };
    let page = client
        .list_events(world.request("ann", request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((page.deliveries.len(), page.more), (3, true));
    let request = v1::ListEventsRequest {
        after: page.next,
        page_size: 3,
    };
    let page = client
        .list_events(world.request("ann", request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((page.deliveries.len(), page.more), (1, false));
    world.chat.script(|command| match &command.op {
        Some(Op::Head(_)) => {
            let outcome = ResumeOutcome::Reset.into();
            Some(Word::Head(HeadResult {
                head: None,
                outcome,
            }))
        }
        _ => None,
    });
    let after = Some(Cursor {
        position: 99,
        nonce: 1,
    });
    let request = v1::ListEventsRequest {
        after,
        page_size: 0,
    };
    let lost = client
        .list_events(world.request("ann", request))
        .await
        .unwrap_err();
    assert_eq!(lost.code(), Code::OutOfRange);
}

#[tokio::test]
async fn history_pages_in_all_directions() {
    let world = World::new().await;
    let cases = [
        (None, 91..=100, (true, false)),
        (Some(Anchor::BeforeSeq(5)), 1..=4, (false, true)),
        (Some(Anchor::AfterSeq(20)), 21..=30, (true, true)),
        (Some(Anchor::AroundSeq(50)), 45..=54, (true, true)),
        (
            Some(Anchor::FromTime(prost_types::Timestamp::default())),
            90..=99,
            (true, true),
        ),
    ];
    let mut client = HistoryServiceClient::new(world.link.clone());
    for (anchor, seqs, (before, after)) in cases {
        let request = v1::ListHistoryRequest {
            conversation_id: CONVERSATION,
            anchor,
            page_size: 10,
        };
        let page = client
            .list_history(world.request("ann", request))
            .await
            .unwrap()
            .into_inner();
        let found: Vec<u64> = page.events.iter().map(|event| event.seq).collect();
        assert_eq!(found, seqs.collect::<Vec<_>>(), "{anchor:?}");
        assert_eq!(
            (page.more_before, page.more_after),
            (before, after),
            "{anchor:?}"
        );
        assert_eq!(page.head_seq, 100);
    }
}

#[tokio::test]
async fn a_created_conversation_has_the_id_that_everybody_derives() {
    let world = World::new().await;
    let mut client = ConversationServiceClient::new(world.link.clone());
    let request =
        |kind: ConversationKind, users: &[&str], title: &str| v1::CreateConversationRequest {
            client_message_id: world.message_id(),
            kind: kind.into(),
            user_ids: users.iter().map(|user| (*user).to_owned()).collect(),
            title: title.into(),
        };
    let direct = request(ConversationKind::Direct, &["bob"], "");
    let made = client
        .create_conversation(world.request("ann", direct))
        .await
        .unwrap();
    let id = made.into_inner().conversation.unwrap().conversation_id;
    assert_eq!(id, LogId::direct("bob", "ann").to_bytes());
    let created = world
        .chat
        .saw("the creation", |command| match command.op.as_ref()? {
            Op::Append(append) => match append.kind.as_ref()? {
                append_command::Kind::Membership(change) => Some(change.user_ids.clone()),
                _ => None,
            },
            _ => None,
        });
    assert_eq!(created.await, ["ann", "bob"]);
    let refused = [
        (
            request(ConversationKind::Direct, &["bob", "eve"], ""),
            Code::InvalidArgument,
        ),
        (
            request(ConversationKind::Direct, &["ann"], ""),
            Code::InvalidArgument,
        ),
        (
            request(ConversationKind::Direct, &["bob"], "title"),
            Code::InvalidArgument,
        ),
        (
            request(ConversationKind::Unspecified, &["bob"], ""),
            Code::InvalidArgument,
        ),
        (
            request(ConversationKind::Group, &["bob"], &"x".repeat(201)),
            Code::InvalidArgument,
        ),
        (
            request(ConversationKind::Group, &["x"; 101], ""),
            Code::FailedPrecondition,
        ),
    ];
    for (request, code) in refused {
        let error = client
            .create_conversation(world.request("ann", request))
            .await
            .unwrap_err();
        assert_eq!(error.code(), code, "{}", error.message());
    }
}

#[tokio::test]
async fn the_list_has_the_last_messages_and_pages() {
    let world = World::new().await;
    world.chat.script(|command| match &command.op {
        Some(Op::List(list)) => {
            let entry = ListEntry {
                conversation_id: CONVERSATION,
                last_seq: 9,
                last_message_seq: 8,
                ..Default::default()
            };
            let entry = ListEntryResult {
                entry: Some(entry),
                unread_count: 2,
                ..Default::default()
            };
            let snapshot = Some(Cursor {
                position: 5,
                nonce: 1,
            });
            let more = list.after.is_none();
            Some(Word::List(ListResult {
                entries: vec![entry],
                more,
                snapshot,
            }))
        }
        _ => None,
    });
    let mut client = ConversationServiceClient::new(world.link.clone());
    let request = v1::ListConversationsRequest::default();
    let page = client
        .list_conversations(world.request("ann", request))
        .await
        .unwrap()
        .into_inner();
    let summary = &page.conversations[0];
    assert_eq!(summary.last_message.as_ref().unwrap().seq, 8);
    assert_eq!(
        (
            summary.unread_count,
            page.snapshot_position.unwrap().position
        ),
        (2, 5)
    );
    let next = |page_token: String| v1::ListConversationsRequest {
        page_token,
        page_size: 0,
    };
    let token = page.next_page_token;
    let page = client
        .list_conversations(world.request("ann", next(token.clone())))
        .await
        .unwrap();
    assert!(page.into_inner().next_page_token.is_empty());
    let stolen = client
        .list_conversations(world.request("bob", next(token)))
        .await
        .unwrap_err();
    assert_eq!(stolen.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn admins_alone_touch_others() {
    let world = World::new().await;
    let user = Some(v1::User {
        user_id: "bob".into(),
        ..Default::default()
    });
    let mut users = UserServiceClient::new(world.link.clone());
    let upsert = v1::UpsertUserRequest { user };
    let refused = users
        .upsert_user(world.request("ann", upsert))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let mut devices = DeviceServiceClient::new(world.link.clone());
    let revoke = |user_id: &str| v1::RevokeDeviceRequest {
        device_id: "phone".into(),
        user_id: user_id.into(),
    };
    let refused = devices
        .revoke_device(world.request("ann", revoke("bob")))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    devices
        .revoke_device(world.request("ann", revoke("")))
        .await
        .unwrap();
    let revoked = |command: &Command| match &command.op {
        Some(Op::RevokeDevice(_)) => Some(command.user_id.clone()),
        _ => None,
    };
    assert_eq!(world.chat.saw("the revocation", revoked).await, "ann");
    let (_device, _) = Device::open(&world, "ann").await;
}
