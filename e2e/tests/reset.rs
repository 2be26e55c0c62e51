//! Reset: a place in the mailbox that is no more is answered `reset`, never silence (P5).

use heddle_e2e::{
    Person, World,
    people::id_of,
    wire::{Device, reason_of, refusal},
    world::Failure,
};
use heddle_proto::v1::{self, Cursor, ResumeOutcome};
use heddle_sdk::{Client, ConversationId, Page, Update};
use std::{fs, path::Path};
use tonic::Code;

/// Where a user's mailbox ends.
async fn head(device: &Device) -> Result<Cursor, Failure> {
    let session = device.session(None).await?;
    Ok(session.opened.head.unwrap_or_default())
}

/// Ahead of the head, and under an owner that never was: reset, with the head from which to go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_is_not_of_this_history_is_reset() -> Result<(), Failure> {
    let world = World::start().await?;
    let bob = world.person("bob", "phone").await?;
    let talk = id_of(&bob.client.create_direct("alice").await?)?;
    for number in 0..4 {
        bob.say(talk, &format!("line {number}")).await?;
    }
    let alice = Device::connect(&world, "alice", "phone").await?;
    let head = loop {
        let head = head(&alice).await?;
        if head.position >= 5 {
            break head;
        }
    };
    let ahead = Cursor {
        position: head.position + 3,
        ..head
    };
    let foreign = Cursor {
        nonce: head.nonce ^ 1,
        ..head
    };
    let older = Cursor {
        position: 2,
        nonce: head.nonce ^ 1,
    };
    for lost in [ahead, foreign, older] {
        let session = alice.session(Some(lost)).await?;
        assert_eq!(session.opened.outcome(), ResumeOutcome::Reset, "{lost:?}");
        assert_eq!(session.opened.head, Some(head));
        let request = v1::ListEventsRequest {
            after: Some(lost),
            page_size: 10,
        };
        let status = refusal(alice.messaging().list_events(request)).await;
        assert_eq!(
            (status.code(), reason_of(&status).as_str()),
            (Code::OutOfRange, "POSITION_LOST")
        );
    }
    for kept in [
        head,
        Cursor {
            position: 2,
            ..head
        },
        Cursor::default(),
    ] {
        let mut session = alice.session(Some(kept)).await?;
        assert_eq!(session.opened.outcome(), ResumeOutcome::Resumed, "{kept:?}");
        session.caught_up().await;
        let told = session
            .seen
            .iter()
            .filter_map(heddle_e2e::wire::position_of);
        let due: Vec<_> = (kept.position + 1..=head.position).collect();
        assert_eq!(told.collect::<Vec<_>>(), due);
    }
    world.stop().await;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &place)?,
            false => fs::copy(entry.path(), place).map(drop)?,
        }
    }
    Ok(())
}

/// The texts of a conversation as the server has them now.
async fn texts(client: &Client, talk: ConversationId) -> Result<Vec<String>, Failure> {
    let page = client.history(talk, Page::After(0), 500).await?;
    let texts = page.events.iter().filter_map(heddle_e2e::people::text_of);
    Ok(texts.map(str::to_owned).collect())
}

/// Waits for the reset, then takes the snapshot as a device does, and checks that it is the right
/// state.
async fn starts_anew(
    person: &mut Person,
    talk: ConversationId,
    expected: &[&str],
) -> Result<(), Failure> {
    let reset = |update: &Update| matches!(update, Update::Reset { .. }).then_some(());
    person.until("the reset", reset).await;
    assert_eq!(texts(&person.client, talk).await?, expected);
    let summary = person.summary(talk).await?;
    assert_eq!(summary.last_seq, expected.len() as u64 + 1);
    Ok(())
}

/// Yesterday's copy of the data directory is restored under live devices. One is connected all the
/// time, one comes back only when the new head has passed its place, one was away since before the
/// copy was made. The first two are reset and have the right state by snapshot; the third resumes
/// as if nothing had been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_copy_resets_all_who_saw_what_is_no_more() -> Result<(), Failure> {
    let mut world = World::start().await?;
    let bob = world.person("bob", "phone").await?;
    let talk = id_of(&bob.client.create_direct("alice").await?)?;
    let mut tablet = world.person("alice", "tablet").await?;
    bob.say(talk, "kept 1").await?;
    bob.say(talk, "kept 2").await?;
    tablet.hears("kept 2").await;
    let before = tablet.seen.iter().rev().find_map(Update::cursor);
    tablet.session.close().await;
    bob.session.close().await;

    world.stop().await;
    let (data, yesterday) = (
        world.data_dir(),
        world.data_dir().with_extension("yesterday"),
    );
    copy(&data, &yesterday)?;
    world.start_again().await?;

    let mut phone = world.person("alice", "phone").await?;
    let mut laptop = world.person("alice", "laptop").await?;
    let bob = world.person("bob", "phone").await?;
    for number in 0..6 {
        bob.say(talk, &format!("lost {number}")).await?;
    }
    phone.hears("lost 5").await;
    laptop.hears("lost 5").await;
    let lost = laptop.seen.iter().rev().find_map(Update::cursor);
    laptop.session.close().await;
    bob.session.close().await;

    world.stop().await;
    fs::remove_dir_all(&data)?;
    fs::rename(&yesterday, &data)?;
    world.start_again().await?;
    phone.seen.clear();
    let kept = ["kept 1", "kept 2"];
    starts_anew(&mut phone, talk, &kept).await?;

    let bob = world.person("bob", "phone").await?;
    let mut expected: Vec<_> = kept.iter().map(|it| (*it).to_owned()).collect();
    for number in 0..20 {
        expected.push(format!("new {number}"));
        bob.say(talk, &expected[number + 2]).await?;
    }
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    phone.hears("new 19").await;
    assert_eq!(
        phone.texts(),
        expected[2..],
        "after a reset, what follows comes as always"
    );

    let client = world.client("alice", "laptop").await?;
    let mut laptop = Person::resume(client, "alice", lost).await?;
    starts_anew(&mut laptop, talk, &expected).await?;
    bob.say(talk, "for all").await?;
    laptop.hears("for all").await;
    assert_eq!(laptop.texts(), ["for all"]);

    let client = world.client("alice", "tablet").await?;
    let mut tablet = Person::resume(client, "alice", before).await?;
    tablet.hears("for all").await;
    let mut missed = expected[2..].to_vec();
    missed.push("for all");
    assert_eq!(tablet.texts(), missed);
    world.stop().await;
    Ok(())
}
