//! Devices: all devices of a user see one sequence, and one that was away gets exactly what it
//! missed (P5).

use heddle_e2e::{
    Person, World,
    people::{event_of, id_of},
    wire::now_ms,
    world::Failure,
};
use heddle_proto::time;
use heddle_sdk::{ConversationId, Update, v1};
use v1::state_change::Kind as State;

/// What a device is told at a place of the mailbox. What became of a message meanwhile is left out:
/// who comes later is told it with the message itself.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Event(Box<v1::Event>),
    State(v1::StateChange),
}

/// All that was told with a place, in order; each names the place before it.
fn told(person: &Person, after: u64) -> Vec<(u64, u64, Told)> {
    let mut previous = None;
    let mut all = Vec::new();
    for update in &person.seen {
        let (cursor, before, what) = match update {
            Update::Event(it) => {
                let event = v1::Event {
                    overlay: None,
                    ..it.event.clone().unwrap_or_default()
                };
                (
                    it.cursor,
                    it.previous_position,
                    Told::Event(Box::new(event)),
                )
            }
            Update::State(it) => {
                let state = it.state.clone().unwrap_or_default();
                (it.cursor, it.previous_position, Told::State(state))
            }
            _ => continue,
        };
        let Some(cursor) = cursor else {
            panic!("told without a place: {what:?}")
        };
        if let Some(previous) = previous {
            assert_eq!(before, previous, "a place without its predecessor");
        }
        previous = Some(cursor.position);
        if cursor.position > after {
            all.push((cursor.position, cursor.nonce, what));
        }
    }
    all
}

fn state_of(update: &Update) -> Option<&State> {
    match update {
        Update::State(delivery) => delivery.state.as_ref()?.kind.as_ref(),
        _ => None,
    }
}

async fn group_of(person: &Person, others: &[&str]) -> Result<ConversationId, Failure> {
    let others = others.iter().map(|it| (*it).to_owned()).collect();
    id_of(&person.client.create_group("weavers", others).await?)
}

/// Three devices of a user see the same positions with the same content; one's own messages come to
/// all of them with the id that the sending device gave them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_devices_of_a_user_see_one_sequence() -> Result<(), Failure> {
    let world = World::start().await?;
    let mut phone = world.person("alice", "phone").await?;
    let mut laptop = world.person("alice", "laptop").await?;
    let mut tablet = world.person("alice", "tablet").await?;
    let mut bob = world.person("bob", "phone").await?;
    let talk = group_of(&phone, &["bob", "carol"]).await?;
    bob.until("the group", |update| event_of(update).map(drop))
        .await;
    let mut own = Vec::new();
    for round in 0..10 {
        bob.say(talk, &format!("bob {round}")).await?;
        let message = heddle_sdk::text(format!("alice {round}"));
        let sender = if round % 2 == 0 { &phone } else { &laptop };
        own.push(sender.session.send(talk, message).await?);
        bob.session.handle().mark_read(talk, own[round].seq).await?;
    }
    let last = bob.say(talk, "the end").await?;
    phone.session.handle().mark_read(talk, last).await?;
    for device in [&mut phone, &mut laptop, &mut tablet] {
        device.hears("the end").await;
        device.hears_mark("alice", last, last).await;
    }
    assert_eq!(told(&laptop, 0), told(&phone, 0));
    assert_eq!(told(&tablet, 0), told(&phone, 0));
    for sent in own {
        let came = tablet.seen.iter().filter_map(event_of);
        let came =
            came.filter(|event| event.client_message_id == sent.client_message_id.to_bytes());
        assert_eq!(came.map(|event| event.seq).collect::<Vec<_>>(), [sent.seq]);
    }
    world.stop().await;
    Ok(())
}

/// What is read on one device is read on the others, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_on_one_device_clears_unread_on_the_other() -> Result<(), Failure> {
    let world = World::start().await?;
    let mut phone = world.person("alice", "phone").await?;
    let mut laptop = world.person("alice", "laptop").await?;
    let bob = world.person("bob", "phone").await?;
    let talk = id_of(&bob.client.create_direct("alice").await?)?;
    for line in ["one", "two", "three"] {
        bob.say(talk, line).await?;
    }
    let seq = phone.hears("three").await;
    laptop.hears("three").await;
    assert_eq!(laptop.summary(talk).await?.unread_count, 3);
    phone.session.handle().mark_read(talk, seq - 1).await?;
    laptop.hears_mark("alice", seq - 1, seq - 1).await;
    assert_eq!(laptop.summary(talk).await?.unread_count, 1);
    phone.session.handle().mark_read(talk, seq).await?;
    laptop.hears_mark("alice", seq, seq).await;
    let summary = laptop.summary(talk).await?;
    assert_eq!((summary.unread_count, summary.read_seq), (0, seq));
    world.stop().await;
    Ok(())
}

/// A device that was away resumes by its token and is told exactly what the one that stayed was
/// told: messages, edits, reactions, erasures, members, marks, settings, what was deleted for
/// oneself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_away_gets_exactly_what_it_missed() -> Result<(), Failure> {
    let mut world = World::start().await?;
    let mut phone = world.person("alice", "phone").await?;
    let mut bob = world.person("bob", "phone").await?;
    let talk = group_of(&phone, &["bob"]).await?;
    let mut laptop = world.person("alice", "laptop").await?;
    bob.say(talk, "before").await?;
    laptop.hears("before").await;
    let cursor = laptop.session.cursor().expect("a place");
    laptop.session.close().await;

    let first = bob.say(talk, "draft").await?;
    let second = bob.say(talk, "oops").await?;
    let third = bob.say(talk, "hidden later").await?;
    bob.client
        .edit(talk, first, heddle_sdk::text("final"))
        .await?;
    bob.client.react(talk, first, "+1", false).await?;
    bob.client.react(talk, first, "heart", false).await?;
    bob.client.react(talk, first, "heart", true).await?;
    bob.client.erase(talk, second).await?;
    phone.client.add_members(talk, vec!["carol".into()]).await?;
    phone.client.rename(talk, "spinners").await?;
    let settings = v1::ConversationSettings {
        conversation_id: talk.to_bytes(),
        muted_until_time: Some(time::timestamp(now_ms() + 3_600_000)),
        pinned: true,
        push_level: v1::PushLevel::Mentions as i32,
    };
    phone.client.update_settings(settings.clone()).await?;
    phone.client.mark(talk, first).await?;
    phone.client.hide(talk, vec![third]).await?;
    phone.say(talk, "own").await?;
    bob.hears("own").await;
    bob.client.mark(talk, third).await?;
    world.restart().await?;
    phone.session.connected().await?;
    bob.session.connected().await?;
    bob.say(talk, "the end").await?;
    phone.hears("the end").await;

    let client = world.client("alice", "laptop").await?;
    let mut laptop = Person::resume(client, "alice", Some(cursor)).await?;
    laptop.hears("the end").await;
    let there = |update: &Update| match state_of(update) {
        Some(State::Settings(came)) => (*came == settings).then_some(()),
        _ => None,
    };
    laptop.until("the settings", there).await;
    let reset = |update: &Update| matches!(update, Update::Reset { .. });
    assert!(!laptop.seen.iter().any(reset));
    // Marks may follow the last line on both; what both have must agree to the last bit of it.
    let kept: Vec<_> = erased_as_erased(told(&phone, cursor.position), second);
    let missed = erased_as_erased(told(&laptop, cursor.position), second);
    let both = kept.len().min(missed.len());
    assert!(both >= 14, "{missed:#?}");
    assert_eq!(missed[..both], kept[..both]);
    world.stop().await;
    Ok(())
}

/// The message erased meanwhile has its body on the device that stayed, and none where it came
/// later.
fn erased_as_erased(mut told: Vec<(u64, u64, Told)>, seq: u64) -> Vec<(u64, u64, Told)> {
    for (_, _, what) in &mut told {
        if let Told::Event(event) = what
            && event.seq == seq
        {
            event.kind = None;
        }
    }
    told
}

/// A device without a past takes a snapshot and the events after it, and has the whole state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fresh_device_has_snapshot_and_what_follows() -> Result<(), Failure> {
    let world = World::start().await?;
    let bob = world.person("bob", "phone").await?;
    let talk = id_of(&bob.client.create_direct("alice").await?)?;
    for number in 0..5 {
        bob.say(talk, &format!("early {number}")).await?;
    }
    let alice = world.person("alice", "phone").await?;
    let early = alice.client.snapshot().await?;
    assert_eq!(early.conversations[0].unread_count, 5);
    for number in 0..7 {
        bob.say(talk, &format!("late {number}")).await?;
    }
    let client = world.client("alice", "tablet").await?;
    let mut tablet = Person::resume(client, "alice", Some(early.position)).await?;
    tablet.hears("late 6").await;
    let late: Vec<_> = (0..7).map(|number| format!("late {number}")).collect();
    assert_eq!(
        tablet.texts(),
        late,
        "the snapshot held what was before, and nothing after"
    );
    let now = tablet.summary(talk).await?;
    assert_eq!(now.unread_count, 12);
    let positions: Vec<_> = told(&tablet, 0).iter().map(|it| it.0).collect();
    let from = early.position.position + 1;
    assert_eq!(positions, (from..from + 7).collect::<Vec<_>>());
    world.stop().await;
    Ok(())
}
