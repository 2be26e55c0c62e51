//! Crashes between a write and what follows from it: nothing that was told is lost, and what was
//! stored and not told yet is told after the restart (P1, P3, P8).
//!
//! The store here dies at a chosen moment, as a process does at a power cut: it forgets what it has
//! not synced. `cargo xtask faults` does the same to real processes, at random moments.

use heddle_e2e::{
    World,
    people::{event_of, id_of, text_of},
    wire::{Device, mint, send_of},
    world::Failure,
};
use heddle_proto::{ids::LogId, v1};
use heddle_sdk::{ConversationId, MessageId, Page, Update};
use std::sync::Arc;
use tokio::{sync::watch, task::JoinSet};

/// Devices that send at once.
const SENDERS: usize = 4;
/// Messages that are told OK before the store dies.
const SENDS_MIN: usize = 60;
/// Commits of one message and what follows from it, and some more: each is made to fail once.
const COMMITS: u64 = 5;

/// A server with alice's talk with bob, whose head is 1.
async fn talk() -> Result<(World, ConversationId), Failure> {
    let world = World::start().await?;
    let alice = world.client("alice", "setup").await?;
    let talk = id_of(&alice.create_direct("bob").await?)?;
    Ok((world, talk))
}

/// The texts of a conversation, as its history tells them.
async fn texts(world: &World, talk: ConversationId) -> Result<Vec<String>, Failure> {
    let alice = world.client("alice", "setup").await?;
    let (mut texts, mut after) = (Vec::new(), 0);
    loop {
        let page = alice.history(talk, Page::After(after), 200).await?;
        after = page.events.last().map_or(after, |event| event.seq);
        texts.extend(page.events.iter().filter_map(text_of).map(str::to_owned));
        if !page.more_after {
            return Ok(texts);
        }
    }
}

/// A message that was told OK.
struct Told {
    id: MessageId,
    words: String,
    seq: u64,
}

/// Sends one message after the other until one is refused; those that were told OK.
async fn send_until_refused(
    device: Device,
    talk: ConversationId,
    number: usize,
    told: Arc<watch::Sender<usize>>,
) -> Vec<Told> {
    let mut all = Vec::new();
    loop {
        let (id, words) = (mint(), format!("{number}: line {}", all.len()));
        let request = send_of(talk, &id, &words);
        let Ok(answer) = device.messaging().send_message(request).await else {
            return all;
        };
        let seq = answer.into_inner().seq;
        all.push(Told { id, words, seq });
        told.send_modify(|count| *count += 1);
    }
}

/// Four devices send without a pause, and the store dies among it, forgetting what it has not
/// synced. Every message that was told OK is there after the restart, under the seq that was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_ok_survives_the_store_that_dies() -> Result<(), Failure> {
    let (mut world, talk) = talk().await?;
    let faults = world.restart_faulty().await?;
    let told = Arc::new(watch::Sender::new(0));
    let mut sending = JoinSet::new();
    for number in 0..SENDERS {
        let device = Device::connect(&world, "alice", &format!("phone-{number}")).await?;
        sending.spawn(send_until_refused(device, talk, number, told.clone()));
    }
    let mut enough = told.subscribe();
    enough.wait_for(|count| *count >= SENDS_MIN).await?;
    faults.kill();
    let all: Vec<Told> = sending.join_all().await.into_iter().flatten().collect();
    world.restart().await?;
    let kept = texts(&world, talk).await?;
    let lost: Vec<&str> = all
        .iter()
        .map(|told| told.words.as_str())
        .filter(|words| !kept.iter().any(|kept| kept == words))
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {} told OK are lost: {lost:?}",
        lost.len(),
        all.len()
    );
    let device = Device::connect(&world, "alice", "phone-0").await?;
    for Told { id, words, seq } in &all {
        let request = send_of(talk, id, words);
        let again = device.messaging().send_message(request).await?.into_inner();
        assert_eq!(again.seq, *seq, "{words}");
    }
    world.stop().await;
    Ok(())
}

/// One message is sent, and a commit fails: that of the message, that of a mailbox, or one after
/// it. After the restart nothing new is said; the sender tries the same id again, and bob, who was
/// away, has the message once, counted once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_and_not_told_is_told_after_the_restart() -> Result<(), Failure> {
    let (mut world, talk) = talk().await?;
    let mut said = Vec::new();
    for failing in 1..=COMMITS {
        let faults = world.restart_faulty().await?;
        let device = Device::connect(&world, "alice", "phone").await?;
        faults.fail_sync(failing);
        let (id, words) = (mint(), format!("commit {failing} failed"));
        // Whether it is taken depends on which commit fails.
        let _taken = device
            .messaging()
            .send_message(send_of(talk, &id, &words))
            .await;
        world.restart().await?;
        let device = Device::connect(&world, "alice", "phone").await?;
        device
            .messaging()
            .send_message(send_of(talk, &id, &words))
            .await?;
        said.push(words);
        let mut bob = world.person("bob", "phone").await?;
        bob.hears(&said[said.len() - 1]).await;
        assert_eq!(bob.texts(), said);
        let seqs: Vec<u64> = bob
            .seen
            .iter()
            .filter_map(event_of)
            .map(|event| event.seq)
            .collect();
        assert_eq!(seqs, (1..=failing + 1).collect::<Vec<_>>());
        let summary = bob.summary(talk).await?;
        assert_eq!(summary.unread_count, failing);
        bob.session.close().await;
    }
    world.stop().await;
    Ok(())
}

/// A member is removed while the store takes nothing into that one's mailbox, and the server
/// restarts: now the one removed is told where the membership ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_is_told_after_the_restart() -> Result<(), Failure> {
    let mut world = World::start().await?;
    let alice = world.client("alice", "setup").await?;
    let others = vec!["bob".to_owned(), "carol".to_owned()];
    let group = id_of(&alice.create_group("weavers", others).await?)?;
    let mut bob = world.person("bob", "phone").await?;
    let mut carol = world.person("carol", "phone").await?;
    let added = |update: &Update| Some(event_of(update)?.seq);
    assert_eq!(carol.until("the group", added).await, 1);
    carol.session.close().await;
    let faults = world.restart_faulty().await?;
    faults.refuse_log(Some(LogId::mailbox("carol")));
    let out = alice.remove_member(group, "carol").await?;
    // It is fanned out: bob is told.
    let told = |update: &Update| (event_of(update)?.seq == out).then_some(());
    bob.until("the removal", told).await;
    world.restart().await?;
    let mut carol = world.person("carol", "phone").await?;
    let ended = |update: &Update| (until_seq(update)? == out).then_some(());
    carol.until("the end of the membership", ended).await;
    world.stop().await;
    Ok(())
}

/// Where a membership ended, if an update says so.
fn until_seq(update: &Update) -> Option<u64> {
    let Update::State(delivery) = update else {
        return None;
    };
    match delivery.state.as_ref()?.kind.as_ref()? {
        v1::state_change::Kind::Membership(membership) => Some(membership.until_seq),
        _ => None,
    }
}
