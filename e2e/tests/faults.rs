//! Faults of the disk: never an OK that is not durable, reads go on, the restart is clean (P1).

use heddle_e2e::{
    World, eventually,
    people::{id_of, text_of},
    wire::{Device, mint, refusal, send_of},
    world::Failure,
};
use heddle_proto::{ids::LogId, v1};
use heddle_sdk::{ConversationId, Page};
use tonic::{Code, Status};

/// A server with alice's talk with bob, in which she said `kept`.
async fn talk() -> Result<(World, ConversationId), Failure> {
    let world = World::start().await?;
    let alice = world.client("alice", "setup").await?;
    let talk = id_of(&alice.create_direct("bob").await?)?;
    let device = Device::connect(&world, "alice", "phone").await?;
    device
        .messaging()
        .send_message(send_of(talk, &mint(), "kept"))
        .await?;
    world.person("bob", "setup").await?.hears("kept").await;
    Ok((world, talk))
}

/// The texts of a conversation.
async fn texts(world: &World, talk: ConversationId) -> Result<Vec<String>, Failure> {
    let alice = world.client("alice", "setup").await?;
    let page = alice.history(talk, Page::After(0), 500).await?;
    Ok(page
        .events
        .iter()
        .filter_map(text_of)
        .map(str::to_owned)
        .collect())
}

/// Whether a refusal says that the store cannot write now.
fn cannot_write(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
}

async fn send(device: &Device, request: v1::SendMessageRequest) -> Result<u64, Status> {
    let answer = device.messaging().send_message(request).await?;
    Ok(answer.into_inner().seq)
}

/// The disk is full from the start on: each write is refused; history, list and sessions are
/// served; with room again a restart takes the same id, and nothing refused was stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_serves_reads() -> Result<(), Failure> {
    let (mut world, talk) = talk().await?;
    world
        .restart_with(|config| config.history.disk_free_bytes_min = u64::MAX)
        .await?;
    let device = Device::connect(&world, "alice", "phone").await?;
    let refused = send_of(talk, &mint(), "refused at first");
    for _ in 0..3 {
        let status = refusal(device.messaging().send_message(refused.clone())).await;
        assert!(cannot_write(&status), "{status:?}");
    }
    let create = v1::CreateConversationRequest {
        client_message_id: mint().to_bytes(),
        kind: v1::ConversationKind::Group.into(),
        user_ids: vec!["bob".into()],
        ..Default::default()
    };
    let status = refusal(device.conversations().create_conversation(create)).await;
    assert!(cannot_write(&status), "{status:?}");
    assert_eq!(texts(&world, talk).await?, ["kept"]);
    let bob = world.person("bob", "phone").await?;
    let summary = bob.summary(talk).await?;
    assert_eq!(summary.last_seq, 2, "sessions open, and the list is told");
    world
        .restart_with(|config| config.history.disk_free_bytes_min = 0)
        .await?;
    let device = Device::connect(&world, "alice", "phone").await?;
    assert_eq!(send(&device, refused).await?, 3);
    assert_eq!(texts(&world, talk).await?, ["kept", "refused at first"]);
    world.stop().await;
    Ok(())
}

/// The sync of the third of 32 sends fails, one after the other: those answered OK are there after
/// the restart, none of the others was told OK, reads go on until then, and a retry of each is
/// stored exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_sync_is_never_told_as_ok() -> Result<(), Failure> {
    let (mut world, talk) = talk().await?;
    let faults = world.restart_faulty().await?;
    let device = Device::connect(&world, "alice", "phone").await?;
    send(&device, send_of(talk, &mint(), "on a whole disk")).await?;
    faults.fail_sync_of(LogId::direct("alice", "bob"), 3);
    let ids: Vec<_> = (0..32).map(|_| mint()).collect();
    let mut taken = Vec::new();
    let mut refused = 0;
    for (number, id) in ids.iter().enumerate() {
        let words = format!("line {number}");
        match send(&device, send_of(talk, id, &words)).await {
            Ok(_) => taken.push(words),
            Err(status) => {
                assert!(cannot_write(&status), "{status:?}");
                refused += 1;
            }
        }
    }
    assert_eq!((taken.len(), refused), (2, 30));
    let read = texts(&world, talk).await?;
    assert!(
        taken.iter().all(|words| read.contains(words)),
        "{read:?} of {taken:?}"
    );
    world.restart().await?;
    let device = Device::connect(&world, "alice", "phone").await?;
    for (number, id) in ids.iter().enumerate() {
        send(&device, send_of(talk, id, &format!("line {number}"))).await?;
    }
    let mut expected = vec!["kept".to_owned(), "on a whole disk".to_owned()];
    expected.extend((0..32).map(|number| format!("line {number}")));
    let (mut read, mut due) = (texts(&world, talk).await?, expected);
    read.sort();
    due.sort();
    assert_eq!(read, due);
    let mut bob = world.person("bob", "phone").await?;
    bob.hears("line 31").await;
    eventually("bob's unread", || async {
        let summary = bob.summary(talk).await.ok()?;
        (summary.unread_count == 34).then_some(())
    })
    .await;
    world.stop().await;
    Ok(())
}
