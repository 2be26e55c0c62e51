//! What a mailbox cannot take is set aside, and is there, whole and in order, once an operator
//! redrives it (P4).

use heddle_e2e::{
    World,
    people::event_of,
    stuck::{self, SetAside},
    world::Failure,
};
use heddle_sdk::{Client, Reason, v1};

async fn listed(operator: &Client) -> Result<Vec<v1::StuckPiece>, Failure> {
    Ok(operator.stuck("", "").await?.stuck_pieces)
}

/// The log cannot be read, then it can: what was set aside is listed, stays while it has to, and
/// is taken once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_set_aside_is_listed_and_redriven() -> Result<(), Failure> {
    let mut world = World::start_with(stuck::settings).await?;
    let SetAside {
        recipient,
        talk,
        faults,
        operator,
        piece,
    } = stuck::set_aside(&mut world).await?;
    assert_eq!(piece.user_id, recipient);
    assert_eq!(piece.conversation_id, talk.to_bytes());
    assert_eq!((piece.from_seq, piece.to_seq), (2, 3));
    let stranger = world.client(&recipient, "phone").await?;
    let refused = stranger.stuck("", "").await.expect_err("no admin");
    assert_eq!(refused.reason, Reason::RoleRequired);
    let refused = stranger.redrive_stuck(&piece.stuck_id).await;
    assert_eq!(refused.expect_err("no admin").reason, Reason::RoleRequired);

    let early = operator.redrive_stuck(&piece.stuck_id).await;
    assert_eq!(early.expect_err("nothing to read").reason, Reason::DataLoss);
    let left = listed(&operator).await?;
    assert_eq!(left.first(), Some(&piece), "it stays");

    faults.hide_rows(None);
    assert_eq!(operator.redrive_stuck(&piece.stuck_id).await?, 2);
    assert_eq!(listed(&operator).await?, []);
    let again = operator.redrive_stuck(&piece.stuck_id).await;
    assert_eq!(again.expect_err("gone").reason, Reason::NotFound);

    let sam = world.person("sam", "phone").await?;
    sam.say(talk, "three").await?;
    let mut person = world.person(&recipient, "phone").await?;
    person.hears("three").await;
    assert_eq!(person.texts(), ["one", "two", "three"]);
    let events = person.seen.iter().filter_map(event_of);
    let seqs: Vec<u64> = events.map(|event| event.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    assert_eq!(person.summary(talk).await?.unread_count, 3);
    world.stop().await;
    Ok(())
}

/// Nobody redrives it, but the log is whole again: the next message brings what was missing, and
/// nothing is listed any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_message_brings_what_was_set_aside() -> Result<(), Failure> {
    let mut world = World::start_with(stuck::settings).await?;
    let set_aside = stuck::set_aside(&mut world).await?;
    set_aside.faults.hide_rows(None);
    let sam = world.person("sam", "phone").await?;
    sam.say(set_aside.talk, "three").await?;
    let mut person = world.person(&set_aside.recipient, "phone").await?;
    person.hears("three").await;
    assert_eq!(person.texts(), ["one", "two", "three"]);
    assert_eq!(listed(&set_aside.operator).await?, []);
    world.stop().await;
    Ok(())
}
