//! Two people chat: the walking skeleton.

use heddle_e2e::{World, people::id_of, world::Failure};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_chat() -> Result<(), Failure> {
    let world = World::start().await?;
    let mut alice = world.person("alice", "phone").await?;
    let mut bob = world.person("bob", "phone").await?;
    let talk = id_of(&alice.client.create_direct("bob").await?)?;
    let first = alice.say(talk, "hello bob").await?;
    assert_eq!(bob.hears("hello bob").await, first);
    let second = bob.say(talk, "hello alice").await?;
    assert_eq!((first, second), (2, 3));
    assert_eq!(alice.hears("hello alice").await, second);
    alice.session.handle().mark_read(talk, second).await?;
    bob.hears_mark("alice", second, second).await;
    world.stop().await;
    Ok(())
}

/// What a drain finds under way (here the devices' cursors) is stored and answered: nothing is
/// aborted, and it takes no grace time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_what_is_under_way_and_aborts_nothing() -> Result<(), Failure> {
    let mut world = World::start().await?;
    for round in 0..3 {
        let alice = world.person("alice", "phone").await?;
        let mut bob = world.person("bob", "phone").await?;
        let talk = id_of(&alice.client.create_direct("bob").await?)?;
        let words = format!("round {round}");
        alice.say(talk, &words).await?;
        bob.hears(&words).await;
        let before = Instant::now();
        assert_eq!(world.drain().await, 0, "tasks were aborted");
        assert!(before.elapsed() < Duration::from_secs(5));
        world.restart().await?;
    }
    world.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_is_there_after_a_restart() -> Result<(), Failure> {
    let mut world = World::start().await?;
    let alice = world.person("alice", "phone").await?;
    let talk = id_of(&alice.client.create_direct("bob").await?)?;
    for number in 0..20 {
        alice.say(talk, &format!("line {number}")).await?;
    }
    world.restart().await?;
    let mut bob = world.person("bob", "phone").await?;
    bob.hears("line 19").await;
    let expected: Vec<_> = (0..20).map(|number| format!("line {number}")).collect();
    assert_eq!(bob.texts(), expected);
    assert_eq!(bob.summary(talk).await?.unread_count, 20);
    world.stop().await;
    Ok(())
}
