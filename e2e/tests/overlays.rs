//! Overlays: what became of a message is told alike by history, resume and events, as a replay of
//! the log would.

use heddle_e2e::{
    Person, World,
    people::{event_of, id_of},
    world::Failure,
};
use heddle_sdk::{ConversationId, Page, text, v1};
use std::collections::{BTreeMap, BTreeSet};
use v1::{event::Kind, message::Content};

/// A message as a user sees it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Shown {
    text: String,
    reply_to: u64,
    erased: bool,
    reactions: BTreeSet<(String, String)>,
}

type Shows = BTreeMap<u64, Shown>;

fn words(message: &v1::Message) -> String {
    match &message.content {
        Some(Content::Text(text)) => text.clone(),
        _ => String::new(),
    }
}

/// What the log says when replayed from its start, without any overlay.
fn replayed(events: &[v1::Event]) -> Shows {
    let mut shows = Shows::new();
    for event in events {
        match &event.kind {
            Some(Kind::Message(message)) => {
                let (text, reply_to) = (words(message), message.reply_to_seq);
                shows.insert(
                    event.seq,
                    Shown {
                        text,
                        reply_to,
                        ..Default::default()
                    },
                );
            }
            Some(Kind::Edit(edit)) => {
                if let (Some(shown), Some(message)) =
                    (shows.get_mut(&edit.target_seq), &edit.message)
                {
                    shown.text = words(message);
                }
            }
            Some(Kind::Erase(erase)) => {
                let erased = Shown {
                    erased: true,
                    ..Default::default()
                };
                shows.insert(erase.target_seq, erased);
            }
            Some(Kind::Reaction(reaction)) => {
                let key = (event.sender.clone(), reaction.key.clone());
                let reactions = &mut shows.entry(reaction.target_seq).or_default().reactions;
                match reaction.removed {
                    true => reactions.remove(&key),
                    false => reactions.insert(key),
                };
            }
            _ => {}
        }
    }
    shows
}

/// What the messages say by themselves, overlays applied.
fn overlaid<'a>(events: impl IntoIterator<Item = &'a v1::Event>) -> Shows {
    let mut shows = Shows::new();
    for event in events {
        let Some(Kind::Message(message)) = &event.kind else {
            continue;
        };
        let overlay = event.overlay.clone().unwrap_or_default();
        let erased = overlay.erased || matches!(message.content, Some(Content::Erased(_)));
        let text = overlay.edited.as_ref().map_or(words(message), words);
        let reactions = overlay.reactions.into_iter().map(|it| (it.user_id, it.key));
        let shown = match erased {
            true => Shown {
                erased,
                ..Default::default()
            },
            false => Shown {
                text,
                reply_to: message.reply_to_seq,
                erased,
                reactions: reactions.collect(),
            },
        };
        shows.insert(event.seq, shown);
    }
    shows
}

/// Some of everything, by two people; the live sight of it is bob's.
async fn mixed(alice: &Person, bob: &Person, talk: ConversationId) -> Result<u64, Failure> {
    let mut seqs = Vec::new();
    for number in 0..6 {
        seqs.push(alice.say(talk, &format!("line {number}")).await?);
    }
    let reply = v1::Message {
        reply_to_seq: seqs[1],
        ..text("a reply")
    };
    seqs.push(bob.session.send(talk, reply).await?.seq);
    alice
        .client
        .edit(talk, seqs[0], text("edited once"))
        .await?;
    alice
        .client
        .edit(talk, seqs[0], text("edited twice"))
        .await?;
    alice
        .client
        .edit(talk, seqs[2], text("edited, then erased"))
        .await?;
    for (key, remove) in [("+1", false), ("heart", false), ("heart", true)] {
        bob.client.react(talk, seqs[1], key, remove).await?;
        alice.client.react(talk, seqs[3], key, remove).await?;
    }
    alice.client.react(talk, seqs[1], "+1", false).await?;
    alice.client.erase(talk, seqs[2]).await?;
    bob.client.react(talk, seqs[4], "+1", false).await?;
    alice.client.erase(talk, seqs[4]).await?;
    alice
        .client
        .edit(talk, seqs[5], text("edited last"))
        .await?;
    Ok(seqs[1])
}

/// History in pages both ways, around and from a time, a resume from the start and ListEvents all
/// show what a replay of the log shows, before and after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_read_shows_what_a_replay_shows() -> Result<(), Failure> {
    let mut world = World::start().await?;
    let alice = world.person("alice", "phone").await?;
    let mut bob = world.person("bob", "phone").await?;
    let talk = id_of(&alice.client.create_direct("bob").await?)?;
    let replied = mixed(&alice, &bob, talk).await?;
    alice.say(talk, "the end").await?;
    bob.hears("the end").await;
    let live: Vec<_> = bob.seen.iter().filter_map(event_of).cloned().collect();
    let expected = replayed(&live);
    assert_eq!(expected.values().filter(|shown| shown.erased).count(), 2);
    for round in 0..2 {
        let forward = bob.pages(talk, true).await?;
        assert_eq!(overlaid(&forward), expected, "round {round}");
        assert_eq!(bob.pages(talk, false).await?, forward);
        assert_eq!(bob.listed().await?, forward);
        let mut laptop = world.person("bob", "laptop").await?;
        laptop.hears("the end").await;
        let resumed: Vec<_> = laptop.seen.iter().filter_map(event_of).cloned().collect();
        assert_eq!(resumed, forward);
        let around = bob
            .client
            .history(talk, Page::Around(replied), 4)
            .await?
            .events;
        assert!(around.iter().any(|event| event.seq == replied) && around.len() == 4);
        let from = forward[4]
            .create_time
            .as_ref()
            .map_or(0, heddle_proto::time::millis);
        let since = bob
            .client
            .history(talk, Page::FromTime(from), 500)
            .await?
            .events;
        assert!(since.len() < forward.len() && since.len() >= forward.len() - 4);
        assert!(
            around
                .iter()
                .chain(&since)
                .all(|event| forward.contains(event))
        );
        world.restart().await?;
        bob.session.connected().await?;
    }
    world.stop().await;
    Ok(())
}
