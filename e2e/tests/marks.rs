//! Marks and unread: what was delivered and read, told to others, and what is left to read (DESIGN
//! section 4).

use heddle_e2e::{
    Person, World, eventually,
    people::{event_of, id_of},
    wire::{Device, Stream, message_of, mint, send_of},
    world::Failure,
};
use heddle_sdk::{ConversationId, Update, v1};
use v1::{open_session_response::Frame, state_change::Kind as State};

async fn group_of(person: &Person, others: &[&str]) -> Result<ConversationId, Failure> {
    let others = others.iter().map(|it| (*it).to_owned()).collect();
    id_of(&person.client.create_group("weavers", others).await?)
}

/// The marks of another that a device was told, as (delivered, read).
fn marks(person: &Person, of: &str) -> Vec<(u64, u64)> {
    let state = |update: &Update| match update {
        Update::State(it) => match it.state.as_ref()?.kind.as_ref()? {
            State::Mark(mark) if mark.user_id == of => Some((mark.delivered_seq, mark.read_seq)),
            _ => None,
        },
        _ => None,
    };
    person.seen.iter().filter_map(state).collect()
}

/// Handles what comes until the session is over: only what is handled is acknowledged.
async fn listens(person: &mut Person) {
    while let Some(update) = person.session.next().await {
        person.seen.push(update);
    }
}

/// Delivered comes from the device's acknowledgement, read from the user; the others are told live,
/// a device that was away when it returns, and marks never go back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_reach_the_others_live_and_after_their_return() -> Result<(), Failure> {
    let world = World::start().await?;
    let mut alice = world.person("alice", "phone").await?;
    let talk = group_of(&alice, &["bob", "carol"]).await?;
    let mut laptop = world.person("alice", "laptop").await?;
    laptop
        .until("the group", |update| event_of(update).map(drop))
        .await;
    let cursor = laptop.seen.iter().rev().find_map(Update::cursor);
    laptop.session.close().await;
    let mut bob = world.person("bob", "phone").await?;
    let first = alice.say(talk, "one").await?;
    bob.hears("one").await;
    tokio::select! {
        () = alice.hears_mark("bob", first, 0) => {}
        () = listens(&mut bob) => panic!("bob's session is over"),
    }
    assert!(
        marks(&alice, "bob").iter().all(|(_, read)| *read < first),
        "delivered is not read"
    );
    bob.session.handle().mark_read(talk, first).await?;
    alice.hears_mark("bob", first, first).await;
    let second = alice.say(talk, "two").await?;
    bob.hears("two").await;
    bob.client.mark(talk, second).await?;
    bob.client.mark(talk, first).await?;
    alice.hears_mark("bob", second, second).await;
    let client = world.client("alice", "laptop").await?;
    let mut laptop = Person::resume(client, "alice", cursor).await?;
    laptop.hears_mark("bob", second, second).await;
    for told in [marks(&alice, "bob"), marks(&laptop, "bob")] {
        assert!(told.is_sorted(), "a mark went back: {told:?}");
    }
    let answer = alice.client.conversation(talk).await?;
    let kept = answer
        .members
        .iter()
        .find(|member| member.user_id == "bob")
        .expect("bob");
    assert_eq!((kept.delivered_seq, kept.read_seq), (second, second));
    world.stop().await;
    Ok(())
}

/// Waits for a message; where it lies in the mailbox.
async fn place_of(stream: &mut Stream, words: &str) -> v1::Cursor {
    let found = stream.until(words, |frame| match (frame, message_of(frame)) {
        (Frame::Event(event), Some((_, text))) if text == words => event.cursor,
        _ => None,
    });
    found.await
}

/// A device that comes back with more than it had acknowledged has received it: the
/// acknowledgement got lost with its connection, and no other would follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_resume_token_covers_is_delivered() -> Result<(), Failure> {
    let world = World::start().await?;
    let mut alice = world.person("alice", "phone").await?;
    let talk = group_of(&alice, &["bob"]).await?;
    let bob = Device::connect(&world, "bob", "phone").await?;
    let mut stream = bob.session(Some(v1::Cursor::default())).await?;
    let first = alice.say(talk, "one").await?;
    let at = place_of(&mut stream, "one").await;
    stream.ack(at.position).await?;
    alice.hears_mark("bob", first, 0).await;
    let second = alice.say(talk, "two").await?;
    let at = place_of(&mut stream, "two").await;
    drop(stream);
    let _stream = bob.session(Some(at)).await?;
    alice.hears_mark("bob", second, 0).await;
    world.stop().await;
    Ok(())
}

/// Unread is others' messages since joining, after the mark, neither erased nor hidden: exact to
/// the message, the same after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_is_exact() -> Result<(), Failure> {
    let mut world = World::start().await?;
    let bob = world.person("bob", "phone").await?;
    let talk = group_of(&bob, &["dan"]).await?;
    for number in 0..5 {
        bob.say(talk, &format!("before alice {number}")).await?;
    }
    bob.client.add_members(talk, vec!["alice".into()]).await?;
    let alice = world.person("alice", "phone").await?;
    let unread = |expected: u64| {
        let (client, talk) = (alice.client.clone(), talk.to_bytes());
        eventually("the unread count", move || {
            let (client, talk) = (client.clone(), talk.clone());
            async move {
                let list = client.snapshot().await.ok()?.conversations;
                let is_talk = |it: &v1::Conversation| it.conversation_id == talk;
                let found = list
                    .iter()
                    .find(|it| it.conversation.as_ref().is_some_and(is_talk))?;
                (found.unread_count == expected).then_some(())
            }
        })
    };
    let mut seqs = Vec::new();
    for number in 0..6 {
        seqs.push(bob.say(talk, &format!("line {number}")).await?);
    }
    unread(6).await;
    bob.client.erase(talk, seqs[1]).await?;
    unread(5).await;
    alice.client.hide(talk, vec![seqs[2]]).await?;
    unread(4).await;
    let edit = bob
        .client
        .edit(talk, seqs[3], heddle_sdk::text("edited"))
        .await?;
    let reaction = bob.client.react(talk, seqs[3], "+1", false).await?;
    bob.client.rename(talk, "spinners").await?;
    unread(4).await;
    alice
        .client
        .hide(talk, vec![seqs[2], edit, reaction])
        .await?;
    unread(4).await;
    bob.client.erase(talk, seqs[2]).await?;
    unread(4).await;
    alice.client.mark(talk, seqs[3]).await?;
    unread(2).await;
    bob.client.erase(talk, seqs[0]).await?;
    unread(2).await;
    world.restart().await?;
    unread(2).await;
    bob.session.connected().await?;
    bob.say(talk, "after the restart").await?;
    unread(3).await;
    alice.session.connected().await?;
    let own = alice.say(talk, "own").await?;
    unread(0).await;
    bob.say(talk, "and again").await?;
    unread(1).await;
    assert_eq!(alice.summary(talk).await?.read_seq, own);
    world.stop().await;
    Ok(())
}

/// In a group of 33 nobody is told of others' marks; who asks gets the read marks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_over_thirty_two_has_read_marks_on_demand_only() -> Result<(), Failure> {
    let world = World::start().await?;
    let mut alice = world.person("alice", "phone").await?;
    let mut bob = world.person("bob", "phone").await?;
    let names: Vec<String> = (0..31).map(|number| format!("member {number}")).collect();
    let mut others: Vec<&str> = names.iter().map(String::as_str).collect();
    others.push("bob");
    let talk = group_of(&alice, &others).await?;
    let seq = alice.say(talk, "to all").await?;
    bob.hears("to all").await;
    bob.client.mark(talk, seq).await?;
    bob.hears_mark("bob", seq, seq).await;
    let members = alice.client.members(talk).await?;
    assert_eq!(members.len(), 33);
    let read = members
        .iter()
        .find(|member| member.user_id == "bob")
        .expect("bob")
        .read_seq;
    assert_eq!(read, seq);
    bob.say(talk, "the end").await?;
    alice.hears("the end").await;
    assert_eq!(marks(&alice, "bob"), []);
    world.stop().await;
    Ok(())
}

/// A mark beyond the head, or of a conversation that is not one's own, is refused and changes
/// nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_beyond_the_head_is_refused() -> Result<(), Failure> {
    let world = World::start().await?;
    let alice = world.person("alice", "phone").await?;
    let talk = id_of(&alice.client.create_direct("bob").await?)?;
    let bob = Device::connect(&world, "bob", "phone").await?;
    let sent = bob
        .messaging()
        .send_message(send_of(talk, &mint(), "hello"))
        .await?;
    let beyond = sent.into_inner().seq + 1;
    let error = alice.client.mark(talk, beyond).await.unwrap_err();
    assert_eq!(error.field, "read_seq");
    eventually("the message", || async {
        alice.summary(talk).await.ok().filter(|it| it.last_seq == 2)
    })
    .await;
    assert_eq!(alice.summary(talk).await?.unread_count, 1);
    world.stop().await;
    Ok(())
}
