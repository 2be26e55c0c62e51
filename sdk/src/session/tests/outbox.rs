//! The outbox on the wire: what is sent again, what is refused, and what a restart finds.

use super::*;
use crate::MessageId;
use crate::outbox::store::{FileOutbox, OutboxStore, StoreFuture};

#[tokio::test]
async fn a_send_survives_a_reconnect_under_its_id() {
    let mut double = Double::start().await;
    let (session, mut stage) = opened(&mut double, 0).await;
    let handle = session.handle();
    let first = handle.outgoing(conversation(1), text("a"));
    assert!(first.client_message_id.time_ms() >= 1_800_000_000_000);
    let first = handle.enqueue(first, WhenFull::Fail).await.unwrap();
    let second = handle.outgoing(conversation(1), text("b"));
    let second = handle.enqueue(second, WhenFull::Fail).await.unwrap();
    let (_, sent) = stage.send().await;
    assert_eq!(sent.client_message_id, first.client_message_id.to_bytes());
    drop(stage);
    let (mut stage, _) = double.open(ResumeOutcome::Resumed, 0).await;
    let (one, again) = stage.send().await;
    assert_eq!(again, sent);
    let (two, behind) = stage.send().await;
    assert_eq!(behind.predecessor_id, sent.client_message_id);
    stage.sent(one, 7).await;
    stage.sent(two, 8).await;
    assert_eq!(first.done().await.unwrap().seq, 7);
    assert_eq!(second.done().await.unwrap().seq, 8);
    handle.flush().await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_told_and_the_next_one_goes_on() {
    let mut double = Double::start().await;
    let (mut session, mut stage) = opened(&mut double, 0).await;
    for word in ["bad", "good"] {
        let outgoing = session.outgoing(conversation(1), text(word));
        session.send_nowait(outgoing).unwrap();
    }
    let (bad, _) = stage.send().await;
    let (good, _) = stage.send().await;
    stage
        .refuse(bad, Fault::field("send.message.text", "too bad"))
        .await;
    let behind = Fault::new(Reason::PredecessorFailed, "not taken");
    stage.refuse(good, behind).await;
    let (again, sent) = stage.send().await;
    assert!(sent.predecessor_id.is_empty());
    stage.sent(again, 1).await;
    let outcome = |update| match update {
        Update::Sent(outcome) => Some(outcome),
        _ => None,
    };
    let refused = until(&mut session, outcome).await;
    assert_eq!(refused.result.unwrap_err().field, "send.message.text");
    let stored = until(&mut session, outcome).await;
    assert_eq!((stored.ticket, stored.result.unwrap().seq), (2, 1));
}

/// A disk that takes its time over each removal.
struct SlowDisk(FileOutbox);

impl OutboxStore for SlowDisk {
    fn load(&self) -> StoreFuture<Vec<Outgoing>> {
        self.0.load()
    }

    fn put(&self, outgoing: &Outgoing) -> StoreFuture<()> {
        self.0.put(outgoing)
    }

    fn remove(&self, id: MessageId) -> StoreFuture<()> {
        let disk = self.0.clone();
        Box::pin(async move {
            // tidy: allow-sleep a slow disk
            tokio::time::sleep(Duration::from_millis(100)).await;
            disk.remove(id).await
        })
    }
}

/// Else a crash between the two would send what was refused again, behind what came after it.
#[tokio::test]
async fn a_refusal_is_in_the_store_before_the_next_one_goes_on() {
    let mut double = Double::start().await;
    let folder = tempfile::tempdir().unwrap();
    let disk = FileOutbox::open(folder.path().join("outbox")).unwrap();
    let client = client(&double);
    let opening = quick(&client).outbox_store(SlowDisk(disk.clone()));
    let session = opening.open().await.unwrap();
    let (mut stage, _) = double.open(ResumeOutcome::Fresh, 0).await;
    for word in ["bad", "good"] {
        let outgoing = session.outgoing(conversation(1), text(word));
        session.enqueue(outgoing, WhenFull::Wait).await.unwrap();
    }
    let (bad, _) = stage.send().await;
    let (good, sent) = stage.send().await;
    let refusal = Fault::field("send.message.text", "too bad");
    stage.refuse(bad, refusal).await;
    let behind = Fault::new(Reason::PredecessorFailed, "not taken");
    stage.refuse(good, behind).await;
    let (_, again) = stage.send().await;
    assert_eq!(again.client_message_id, sent.client_message_id);
    let left = disk.load().await.unwrap();
    let left: Vec<_> = left
        .iter()
        .map(|one| one.client_message_id.to_bytes())
        .collect();
    assert_eq!(left, [sent.client_message_id]);
}

#[tokio::test]
async fn a_full_outbox_says_so() {
    let mut double = Double::start().await;
    let small = client(&double).session().outbox_len_max(1);
    let session = small.open().await.unwrap();
    let (_stage, _) = double.open(ResumeOutcome::Fresh, 0).await;
    let outgoing = || session.outgoing(conversation(1), text("a"));
    session.send_nowait(outgoing()).unwrap();
    let error = session.send_nowait(outgoing()).unwrap_err();
    assert_eq!(error.reason, Reason::Overloaded);
}

#[tokio::test]
async fn a_restarted_client_sends_what_was_left() {
    let mut double = Double::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let store = || FileOutbox::open(&path).unwrap();
    let session = quick(&client(&double))
        .outbox_store(store())
        .open()
        .await
        .unwrap();
    let (mut stage, _) = double.open(ResumeOutcome::Fresh, 0).await;
    let outgoing = session.outgoing(conversation(1), text("a"));
    session.enqueue(outgoing, WhenFull::Wait).await.unwrap();
    let (_, before) = stage.send().await;
    session.close().await;
    let mut session = quick(&client(&double))
        .outbox_store(store())
        .open()
        .await
        .unwrap();
    let (mut stage, _) = double.open(ResumeOutcome::Fresh, 0).await;
    let (request_id, after) = stage.send().await;
    assert_eq!(before, after);
    stage.sent(request_id, 4).await;
    let told = |update| matches!(update, Update::Sent(_)).then_some(());
    until(&mut session, told).await;
    assert!(store().load().await.unwrap().is_empty());
}
