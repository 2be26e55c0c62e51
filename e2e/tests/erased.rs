//! Erased is erased: from every answer at once, from the disk with the next compaction (P10);
//! deleted for oneself is gone for oneself.

use heddle_e2e::{
    World,
    people::{Person, event_of, id_of},
    world::Failure,
};
use heddle_history::{EmbeddedStore, testing::Faults};
use heddle_proto::ids::LogId;
use heddle_sdk::{Page, Update, text, v1};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What one deleted for oneself is gone from one's history, and every device that replays the
/// mailbox is told after the message that it is hidden; the others keep it. What is no message
/// cannot be hidden.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_for_oneself_is_gone_for_oneself_only() -> Result<(), Failure> {
    let world = World::start().await?;
    let alice = world.person("alice", "phone").await?;
    let talk = id_of(&alice.client.create_direct("bob").await?)?;
    let hidden = alice.say(talk, "not for bob's eyes").await?;
    alice.say(talk, "the end").await?;
    let mut bob = world.person("bob", "phone").await?;
    bob.hears("the end").await;
    bob.client.hide(talk, vec![1, hidden]).await?;
    let mine = bob.pages(talk, true).await?;
    assert!(!format!("{mine:?}").contains("bob's eyes"));
    let mut laptop = world.person("bob", "laptop").await?;
    let hidden_seqs = laptop.until("what is hidden", hidden_in).await;
    assert_eq!(hidden_seqs, [hidden]);
    assert!(
        laptop.texts().contains(&"the end".to_owned()),
        "it comes after the message"
    );
    assert!(format!("{:?}", alice.pages(talk, true).await?).contains("bob's eyes"));
    world.stop().await;
    Ok(())
}

fn hidden_in(update: &Update) -> Option<Vec<u64>> {
    match update {
        Update::State(it) => match it.state.as_ref()?.kind.as_ref()? {
            v1::state_change::Kind::Hidden(hidden) => Some(hidden.seqs.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn is_erased(event: &v1::Event) -> bool {
    match &event.kind {
        Some(v1::event::Kind::Message(message)) => {
            matches!(message.content, Some(v1::message::Content::Erased(_)))
        }
        _ => false,
    }
}

/// Files below a directory that hold any of these words.
fn holding(directory: &Path, words: &[&str]) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(holding(&path, words)?);
            continue;
        }
        let bytes = fs::read(&path)?;
        let holds = |word: &&str| {
            bytes
                .windows(word.len())
                .any(|part| part == word.as_bytes())
        };
        if words.iter().any(holds) {
            found.push(path);
        }
    }
    Ok(found)
}

/// An erased body, and those of its edits, are in no answer from the OK on, live devices aside that
/// had them before; after the store's compaction they are in no file of the data directory either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_is_erased_from_answers_and_from_the_disk() -> Result<(), Failure> {
    const CANARIES: [&str; 2] = ["canary-7f3a9c21", "canary-edit-0b5e88d4"];
    let mut world = World::start().await?;
    let alice = world.person("alice", "phone").await?;
    let bob = world.person("bob", "phone").await?;
    let talk = id_of(&alice.client.create_direct("bob").await?)?;
    let seq = alice.say(talk, CANARIES[0]).await?;
    alice.client.edit(talk, seq, text(CANARIES[1])).await?;
    let reply = v1::Message {
        reply_to_seq: seq,
        ..text("a reply stays")
    };
    bob.session.send(talk, reply).await?;
    assert!(
        !holding(&world.data_dir(), &CANARIES)?.is_empty(),
        "the search finds what is there"
    );
    alice.client.erase(talk, seq).await?;
    for round in 0..2 {
        let mut laptop = world.person("bob", "laptop").await?;
        laptop.hears("a reply stays").await;
        let answers = [
            format!("{:?}", bob.pages(talk, true).await?),
            format!(
                "{:?}",
                bob.client.history(talk, Page::Around(seq), 50).await?
            ),
            format!("{:?}", bob.listed().await?),
            format!("{:?}", bob.client.snapshot().await?),
            format!("{:?}", alice.client.snapshot().await?),
            format!("{:?}", laptop.seen),
        ];
        for answer in &answers {
            assert!(
                !CANARIES.iter().any(|word| answer.contains(word)),
                "round {round}: {answer}"
            );
        }
        laptop.session.close().await;
        world.restart().await?;
        bob.session.connected().await?;
    }
    world.stop().await;
    let config = heddle_history::HistoryConfig {
        disk_free_bytes_min: 0,
        ..heddle_history::HistoryConfig::at(world.data_dir())
    };
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(&config)).await??;
    let store = Arc::new(store);
    assert!(
        store.erasure_age().is_some(),
        "the store knows that a body waits"
    );
    let compacting = store.clone();
    tokio::task::spawn_blocking(move || compacting.compact()).await??;
    store.close().await;
    drop(store);
    assert_eq!(
        holding(&world.data_dir(), &CANARIES)?,
        Vec::<PathBuf>::new()
    );
    world.start_again().await?;
    let again = world.person("bob", "tablet").await?;
    let told = again.pages(talk, true).await?;
    let erased = told.iter().find(|event| event.seq == seq);
    assert!(erased.is_some_and(is_erased), "{erased:?}");
    world.stop().await;
    Ok(())
}

/// Alice, and bob whose mailbox's shard has no other work, on a store that can be made to fail.
struct Apart {
    world: World,
    faults: Arc<Faults>,
    alice: Person,
    phone: Person,
    talk: LogId,
}

impl Apart {
    async fn start() -> Result<Self, Failure> {
        const SHARDS: u32 = 4;
        let mut world = World::start_with(|config| config.chat.shards = SHARDS).await?;
        let alice = world.person("alice", "phone").await?;
        let talk = id_of(&alice.client.create_group("talk", Vec::new()).await?)?;
        let busy = [talk.shard(SHARDS), LogId::mailbox("alice").shard(SHARDS)];
        let idle = |name: &String| !busy.contains(&LogId::mailbox(name).shard(SHARDS));
        let bob = (0..).map(|number| format!("bob-{number}")).find(idle);
        let bob = bob.ok_or("no name is left")?;
        alice.client.add_members(talk, vec![bob.clone()]).await?;
        // Else it would come back after the restart, and the two would take each other's place.
        alice.session.close().await;
        let faults = world.restart_faulty().await?;
        let alice = world.person("alice", "phone").await?;
        let phone = world.person(&bob, "phone").await?;
        Ok(Self {
            world,
            faults,
            alice,
            phone,
            talk,
        })
    }

    /// Whether bob's shard can write.
    fn bob_can_write(&self, can: bool) {
        let refused = (!can).then(|| LogId::mailbox(&self.phone.user_id));
        self.faults.refuse_log(refused);
    }
}

/// The mailbox's shard cannot write while a message is sent to it, edited and erased, so that all
/// of it waits there; written at last, none of it arrives with a body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_while_it_is_erased_arrives_without_its_body() -> Result<(), Failure> {
    let mut apart = Apart::start().await?;
    apart.bob_can_write(false);
    let (alice, talk) = (&apart.alice, apart.talk);
    let seq = alice.say(talk, "canary-3b77d0").await?;
    alice
        .client
        .edit(talk, seq, text("canary-edit-91c2"))
        .await?;
    alice.client.erase(talk, seq).await?;
    alice.say(talk, "the end").await?;
    apart.bob_can_write(true);
    apart.phone.hears("the end").await;
    let seen = format!("{:?}", apart.phone.seen);
    assert!(!seen.contains("canary"), "{seen}");
    let events = apart.phone.seen.iter().filter_map(event_of);
    let seqs: Vec<_> = events.map(|event| event.seq).collect();
    let due: Vec<_> = (seq - 1..=seq + 3).collect();
    assert_eq!(seqs, due, "nothing is missing, and all is in order");
    apart.world.stop().await;
    Ok(())
}

/// The same for somebody who has left before the erasure, and so is not due it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_member_no_more_arrives_without_its_body() -> Result<(), Failure> {
    let mut apart = Apart::start().await?;
    let (alice, talk) = (&apart.alice, apart.talk);
    let aside = id_of(&alice.client.create_direct(&apart.phone.user_id).await?)?;
    apart.bob_can_write(false);
    let seq = alice.say(talk, "canary-6e1f05").await?;
    alice
        .client
        .remove_member(talk, &apart.phone.user_id)
        .await?;
    alice.client.erase(talk, seq).await?;
    apart.bob_can_write(true);
    alice.say(aside, "the end").await?;
    apart.phone.hears("the end").await;
    let seen = format!("{:?}", apart.phone.seen);
    assert!(!seen.contains("canary"), "{seen}");
    let of_talk = |event: &&v1::Event| event.conversation_id == talk.to_bytes();
    let events = apart.phone.seen.iter().filter_map(event_of).filter(of_talk);
    assert!(events.clone().any(|event| event.seq == seq), "{seen}");
    assert!(events.clone().all(|event| event.seq <= seq), "{seen}");
    apart.world.stop().await;
    Ok(())
}
