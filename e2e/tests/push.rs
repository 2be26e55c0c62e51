//! Pushes are honest (P9): a device gets one unless it acknowledged the message itself, or another
//! device of its user did so in the foreground, within the grace time.

use heddle::serve::assemble::ServeConfig;
use heddle_e2e::{
    Person, World, eventually,
    keys::now_s,
    people::id_of,
    pushes::{ids, offline, pushed, pushes, to},
    wire::{Device, message_of},
    world::Failure,
};
use heddle_proto::v1::open_session_response::Frame;
use heddle_sdk::{ConversationId, v1};

/// Short, yet long enough for a line of messages to be sent within it.
const GRACE_MS: u64 = 800;

/// So short that it holds up nothing.
const WINDOW_MS: u64 = 50;

fn quick(config: &mut ServeConfig) {
    config.chat.push_grace_ms = GRACE_MS;
    config.chat.push_window_ms = WINDOW_MS;
}

/// Waits until whatever is due by now has been pushed: one who is offline for sure has got two
/// later ones.
async fn settled(world: &World, alice: &Person) -> Result<(), Failure> {
    offline(world, "zoe", "phone").await?;
    let talk = id_of(&alice.client.create_direct("zoe").await?)?;
    for words in ["are you there?", "and now?"] {
        let seq = alice.say(talk, words).await?;
        pushed(world, "zoe", "phone", seq).await;
    }
    Ok(())
}

async fn talk_with_bob(alice: &Person) -> Result<ConversationId, Failure> {
    id_of(&alice.client.create_direct("bob").await?)
}

/// Several messages to a device that is away are one push per conversation, with the true numbers;
/// the sender's own devices get none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offline_device_gets_one_push_for_a_conversation() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    offline(&world, "bob", "phone").await?;
    offline(&world, "alice", "tablet").await?;
    let alice = world.person("alice", "phone").await?;
    let talk = talk_with_bob(&alice).await?;
    let mut last = 0;
    for words in ["one", "two", "three"] {
        last = alice.say(talk, words).await?;
    }
    let push = pushed(&world, "bob", "phone", last).await;
    assert_eq!((push.count, push.badge), (3, 3));
    settled(&world, &alice).await?;
    let all = pushes(&world);
    assert_eq!(to(&all, "bob").len(), 1, "{all:#?}");
    assert_eq!(
        to(&all, "alice").len(),
        0,
        "own messages are not pushed: {all:#?}"
    );
    world.stop().await;
    Ok(())
}

/// Who acknowledged gets none; one device in the foreground speaks for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_in_the_foreground_silences_the_others() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    offline(&world, "bob", "phone").await?;
    let mut laptop = world.person("bob", "laptop").await?;
    let alice = world.person("alice", "phone").await?;
    let talk = talk_with_bob(&alice).await?;
    alice.say(talk, "seen at once").await?;
    laptop.hears("seen at once").await;
    // Asking for more acknowledges what came.
    let reading = tokio::spawn(async move { while laptop.session.next().await.is_some() {} });
    settled(&world, &alice).await?;
    let all = pushes(&world);
    assert_eq!(to(&all, "bob").len(), 0, "{all:#?}");
    reading.abort();
    world.stop().await;
    Ok(())
}

/// To be sent a message is not to have it: a device with an open session that acknowledges nothing
/// is pushed to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_never_acknowledges_is_pushed_to() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    let device = Device::connect(&world, "bob", "phone").await?;
    let mut silent = device.session(None).await?;
    let alice = world.person("alice", "phone").await?;
    let talk = talk_with_bob(&alice).await?;
    let seq = alice.say(talk, "are you there?").await?;
    let is_it = |frame: &Frame| message_of(frame).filter(|(found, _)| *found == seq);
    silent.until("the message", is_it).await;
    assert_eq!(pushed(&world, "bob", "phone", seq).await.count, 1);
    world.stop().await;
    Ok(())
}

/// A laptop left open in the background acknowledges, and the phone is told all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_laptop_in_the_background_does_not_silence_the_phone() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    offline(&world, "bob", "phone").await?;
    let mut laptop = world.person("bob", "laptop").await?;
    laptop.session.foreground(false).await?;
    let alice = world.person("alice", "phone").await?;
    let talk = talk_with_bob(&alice).await?;
    laptop.say(talk, "in the background from here").await?;
    let seq = alice.say(talk, "nobody looks").await?;
    laptop.hears("nobody looks").await;
    let reading = tokio::spawn(async move { while laptop.session.next().await.is_some() {} });
    pushed(&world, "bob", "phone", seq).await;
    settled(&world, &alice).await?;
    let all = pushes(&world);
    let devices: Vec<_> = to(&all, "bob")
        .iter()
        .map(|push| &*push.device_id)
        .collect();
    assert_eq!(devices, ["phone"], "the laptop has it: {all:#?}");
    reading.abort();
    world.stop().await;
    Ok(())
}

/// A muted conversation and one that was read within the grace time are not pushed; others are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn muted_and_read_conversations_are_not_pushed() -> Result<(), Failure> {
    let slower = |config: &mut ServeConfig| {
        quick(config);
        config.chat.push_grace_ms = 2 * GRACE_MS;
    };
    let world = World::start_with(slower).await?;
    offline(&world, "bob", "phone").await?;
    let alice = world.person("alice", "phone").await?;
    let group = |title: &'static str| {
        let client = alice.client.clone();
        async move { id_of(&client.create_group(title, vec!["bob".into()]).await?) }
    };
    let (muted, read, loud) = (
        group("muted").await?,
        group("read").await?,
        group("loud").await?,
    );
    let bob = world.client("bob", "phone").await?;
    eventually("bob is a member", || async {
        bob.conversation(muted).await.ok()
    })
    .await;
    let until = v1::ConversationSettings {
        conversation_id: muted.to_bytes(),
        muted_until_time: Some(heddle_proto::time::timestamp((now_s() + 3600) * 1000)),
        ..Default::default()
    };
    bob.update_settings(until).await?;
    alice.say(muted, "hush").await?;
    let seq = alice.say(read, "read at once").await?;
    bob.mark(read, seq).await?;
    let seq = alice.say(loud, "hello").await?;
    let push = pushed(&world, "bob", "phone", seq).await;
    assert_eq!(
        push.badge, 1,
        "muted and read messages are not in the badge"
    );
    settled(&world, &alice).await?;
    let all = pushes(&world);
    assert_eq!(to(&all, "bob").len(), 1, "{all:#?}");
    world.stop().await;
    Ok(())
}

/// A restart between the send and the end of the grace time loses no push, and repeats one under
/// the same id at worst.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_within_the_grace_time_loses_no_push() -> Result<(), Failure> {
    let mut world = World::start_with(|config| config.chat.push_grace_ms = 4_000).await?;
    for device in ["phone", "tablet"] {
        offline(&world, "bob", device).await?;
    }
    let alice = world.person("alice", "phone").await?;
    let talk = talk_with_bob(&alice).await?;
    let seq = alice.say(talk, "before the restart").await?;
    drop(alice);
    world.restart().await?;
    assert_eq!(
        to(&pushes(&world), "bob").len(),
        0,
        "the restart came within the grace time"
    );
    for device in ["phone", "tablet"] {
        pushed(&world, "bob", device, seq).await;
    }
    let all = pushes(&world);
    let ids = ids(&to(&all, "bob"));
    assert_eq!(ids.len(), 1, "one push, however often it is sent: {all:#?}");
    world.stop().await;
    Ok(())
}
