//! Once: an id is stored at most once, however often and wherever it is retried (P3).

use heddle_e2e::{
    World,
    people::id_of,
    wire::{Device, detail_of, mint, mint_at, now_ms, reason_of, refusal, send_of},
    world::Failure,
};
use heddle_proto::v1::{
    self, ErrorReason, open_session_request::Frame as Up, open_session_response::Frame,
};
use heddle_sdk::{ConversationId, Page};
use tonic::Code;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A server, and alice's direct conversation with bob, whose head is 1.
async fn talk() -> Result<(World, ConversationId), Failure> {
    let world = World::start().await?;
    let alice = world.client("alice", "setup").await?;
    let talk = id_of(&alice.create_direct("bob").await?)?;
    Ok((world, talk))
}

/// How many messages a conversation holds, from its history.
async fn count(world: &World, talk: ConversationId) -> Result<usize, Failure> {
    let alice = world.client("alice", "setup").await?;
    let page = alice.history(talk, Page::After(1), 500).await?;
    Ok(page.events.len())
}

async fn send(device: &Device, request: v1::SendMessageRequest) -> Result<u64, tonic::Status> {
    let answer = device.messaging().send_message(request).await?;
    Ok(answer.into_inner().seq)
}

/// The same id at the same time over two sessions and two unary calls: one message, one seq.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_sent_at_once_over_four_ways_is_one_message() -> Result<(), Failure> {
    let (world, talk) = talk().await?;
    let phone = Device::connect(&world, "alice", "phone").await?;
    let laptop = Device::connect(&world, "alice", "laptop").await?;
    let (mut one, mut other) = (phone.session(None).await?, laptop.session(None).await?);
    for round in 0..20 {
        let request = send_of(talk, &mint(), &format!("round {round}"));
        one.send(round + 1, Up::Send(request.clone())).await?;
        other.send(round + 1, Up::Send(request.clone())).await?;
        let (third, fourth) = tokio::join!(
            send(&phone, request.clone()),
            send(&laptop, request.clone())
        );
        let seqs = [
            one.sent(round + 1).await.map_err(|it| it.message)?,
            other.sent(round + 1).await.map_err(|it| it.message)?,
            third?,
            fourth?,
        ];
        assert_eq!(seqs, [round + 2; 4]);
    }
    assert_eq!(count(&world, talk).await?, 20);
    world.stop().await;
    Ok(())
}

/// A retry after a reconnect, and after a restart of the server, gets the first answer, time
/// included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_gets_the_first_answer_after_a_reconnect_and_a_restart() -> Result<(), Failure> {
    let (mut world, talk) = talk().await?;
    let request = send_of(talk, &mint(), "once");
    let phone = Device::connect(&world, "alice", "phone").await?;
    let first = phone.messaging().send_message(request.clone()).await?;
    let first = first.into_inner();
    let mut session = Device::connect(&world, "alice", "phone")
        .await?
        .session(None)
        .await?;
    session.send(1, Up::Send(request.clone())).await?;
    assert_eq!(session.sent(1).await.map_err(|it| it.message)?, first.seq);
    drop(session);
    world.restart().await?;
    let phone = Device::connect(&world, "alice", "phone").await?;
    let again = phone.messaging().send_message(request.clone()).await?;
    assert_eq!(again.into_inner(), first);
    let other = send_of(talk, &mint(), "another");
    assert_eq!(send(&phone, other).await?, first.seq + 1);
    assert_eq!(count(&world, talk).await?, 2);
    world.stop().await;
    Ok(())
}

/// An id with another body is refused, before and after a restart, as unary call and as frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_with_another_body_is_refused() -> Result<(), Failure> {
    let (mut world, talk) = talk().await?;
    let id = mint();
    let phone = Device::connect(&world, "alice", "phone").await?;
    send(&phone, send_of(talk, &id, "one body")).await?;
    for _ in 0..2 {
        let phone = Device::connect(&world, "alice", "phone").await?;
        let other = send_of(talk, &id, "another body");
        let status = refusal(phone.messaging().send_message(other.clone())).await;
        assert_eq!(status.code(), Code::AlreadyExists);
        assert_eq!(reason_of(&status), "ID_REUSED");
        let mut session = phone.session(None).await?;
        session.send(1, Up::Send(other)).await?;
        let error = session.sent(1).await.unwrap_err();
        assert_eq!(error.reason(), ErrorReason::IdReused);
        drop(session);
        world.restart().await?;
    }
    assert_eq!(count(&world, talk).await?, 1);
    world.stop().await;
    Ok(())
}

/// An id that is too old, or minted ahead of the server, is refused with what to do, and stores
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_of_another_time_is_refused() -> Result<(), Failure> {
    let (world, talk) = talk().await?;
    let phone = Device::connect(&world, "alice", "phone").await?;
    let old = mint_at(now_ms() - 7 * DAY_MS - 10_000);
    let status = refusal(phone.messaging().send_message(send_of(talk, &old, "late"))).await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(reason_of(&status), "OUTBOX_EXPIRED");
    let ahead = mint_at(now_ms() + 70_000);
    let status = refusal(
        phone
            .messaging()
            .send_message(send_of(talk, &ahead, "early")),
    )
    .await;
    assert_eq!(reason_of(&status), "ID_AHEAD");
    let server_ms: u64 = detail_of(&status, "server_time_ms").unwrap().parse()?;
    assert!(server_ms.abs_diff(now_ms()) < 10_000);
    let within = mint_at(now_ms() - 7 * DAY_MS + 60_000);
    send(&phone, send_of(talk, &within, "just in time")).await?;
    send(
        &phone,
        send_of(talk, &mint_at(now_ms() + 50_000), "a clock that is fast"),
    )
    .await?;
    assert_eq!(count(&world, talk).await?, 2);
    world.stop().await;
    Ok(())
}

/// Calls that make other things are taken once too: a group, an edit, a reaction, a member.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_taken_once_too() -> Result<(), Failure> {
    let world = World::start().await?;
    let phone = Device::connect(&world, "alice", "phone").await?;
    let create = v1::CreateConversationRequest {
        client_message_id: mint().to_bytes(),
        kind: v1::ConversationKind::Group.into(),
        user_ids: vec!["bob".into()],
        title: "weavers".into(),
    };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let made = phone
            .conversations()
            .create_conversation(create.clone())
            .await?;
        ids.push(made.into_inner().conversation.unwrap().conversation_id);
    }
    assert_eq!(ids[0], ids[1]);
    let group = ConversationId::from_wire(&ids[0]).unwrap();
    let target_seq = send(&phone, send_of(group, &mint(), "draft")).await?;
    let edit = v1::EditMessageRequest {
        conversation_id: group.to_bytes(),
        client_message_id: mint().to_bytes(),
        target_seq,
        message: Some(heddle_sdk::text("final")),
    };
    let react = v1::ReactRequest {
        conversation_id: group.to_bytes(),
        client_message_id: mint().to_bytes(),
        target_seq,
        key: "+1".into(),
        remove: false,
    };
    let add = v1::AddMembersRequest {
        client_message_id: mint().to_bytes(),
        conversation_id: group.to_bytes(),
        user_ids: vec!["carol".into()],
        role: v1::Role::Member.into(),
    };
    for _ in 0..2 {
        let edited = phone.messaging().edit_message(edit.clone()).await?;
        assert_eq!(edited.into_inner().seq, 3);
        let reacted = phone.messaging().react(react.clone()).await?;
        assert_eq!(reacted.into_inner().seq, 4);
        let added = phone.conversations().add_members(add.clone()).await?;
        assert_eq!(added.into_inner().seq, 5);
    }
    world.stop().await;
    Ok(())
}

/// Sixteen sends in flight, each naming the one before; the sixth is refused. The five before it
/// are stored in their order, and none after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_refused_of_sixteen_in_flight_keeps_the_order() -> Result<(), Failure> {
    let (world, talk) = talk().await?;
    let mut session = Device::connect(&world, "alice", "phone")
        .await?
        .session(None)
        .await?;
    let ids: Vec<_> = (0..16).map(|_| mint()).collect();
    let line = |index: usize| {
        let words = match index {
            5 => "x".repeat(100_001),
            _ => format!("line {index}"),
        };
        let mut request = send_of(talk, &ids[index], &words);
        if index > 0 {
            request.predecessor_id = ids[index - 1].to_bytes();
        }
        request
    };
    for index in 0..16 {
        session
            .send(index as u64 + 1, Up::Send(line(index)))
            .await?;
    }
    for index in 0..16 {
        let outcome = session
            .sent(index + 1)
            .await
            .map_err(|error| error.reason());
        let expected = match index {
            0..5 => Ok(index + 2),
            5 => Err(ErrorReason::InvalidField),
            _ => Err(ErrorReason::PredecessorFailed),
        };
        assert_eq!(outcome, expected, "line {index}");
    }
    // The device drops the bad line, lets the next follow the last good one, and repeats the rest.
    for index in 6..16 {
        let mut request = line(index);
        if index == 6 {
            request.predecessor_id = ids[4].to_bytes();
        }
        session.send(index as u64 + 101, Up::Send(request)).await?;
    }
    for index in 6..16 {
        assert_eq!(
            session.sent(index + 101).await.map_err(|it| it.message),
            Ok(index + 1)
        );
    }
    assert!(
        !session
            .seen
            .iter()
            .any(|frame| matches!(frame, Frame::GoAway(_)))
    );
    assert_eq!(count(&world, talk).await?, 15);
    world.stop().await;
    Ok(())
}
