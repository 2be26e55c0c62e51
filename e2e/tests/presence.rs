//! Presence, typing and signals: who is online, told to those who share a conversation, and nothing
//! of it stored (issue section 3).

use heddle::serve::assemble::ServeConfig;
use heddle_e2e::{Person, World, eventually, people::id_of, world::Failure};
use heddle_sdk::{ConversationId, Update, v1};
use std::time::Duration;

/// How long a session counts as alive without a sign of life.
const TTL_MS: u64 = 2_500;

fn quick(config: &mut ServeConfig) {
    config.gateway.presence_refresh_ms = 1_000;
    config.presence.ttl_ms = TTL_MS;
    config.presence.offline_grace_ms = 200;
    config.presence.tick_ms = 50;
}

/// Waits for a change of presence; only later ones than `from` updates count.
async fn hears_presence(person: &mut Person, of: &str, online: bool) -> v1::Presence {
    person.seen.clear();
    let what = format!("{of} online {online}");
    person
        .until(&what, |update| match update {
            Update::Presence(presence) => {
                (presence.user_id == of && presence.online == online).then(|| (**presence).clone())
            }
            _ => None,
        })
        .await
}

async fn talk_between(world: &World, one: &Person, other: &str) -> Result<ConversationId, Failure> {
    let talk = id_of(&one.client.create_direct(other).await?)?;
    let client = world.client(other, "asking").await?;
    eventually("the conversation in the other's list", || async {
        let list = client.snapshot().await.ok()?.conversations;
        (!list.is_empty()).then_some(())
    })
    .await;
    Ok(talk)
}

/// Online with the first foreground session, as long as it lives; then offline, with the time it
/// was seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_watches_hears_of_coming_and_going() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    let mut alice = world.person("alice", "phone").await?;
    talk_between(&world, &alice, "bob").await?;
    let now = alice.session.watch_presence(vec!["bob".into()]).await?;
    assert!(now.iter().all(|presence| !presence.online), "{now:?}");
    let bob = world.person("bob", "phone").await?;
    hears_presence(&mut alice, "bob", true).await;
    // The gateway, not the device, says that bob is there: longer than the TTL without a word of
    // his.
    tokio::time::sleep(Duration::from_millis(TTL_MS + 1_000)).await; // tidy: allow-sleep TTL
    let now = alice.client.presence(vec!["bob".into()]).await?;
    assert!(now.iter().any(|presence| presence.online), "{now:?}");
    bob.session.close().await;
    let gone = hears_presence(&mut alice, "bob", false).await;
    assert!(gone.last_seen_time.is_some(), "{gone:?}");
    world.stop().await;
    Ok(())
}

/// A session in the background is not somebody online.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_background_is_not_online() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    let mut alice = world.person("alice", "phone").await?;
    talk_between(&world, &alice, "bob").await?;
    alice.session.watch_presence(vec!["bob".into()]).await?;
    let bob = world.person("bob", "phone").await?;
    hears_presence(&mut alice, "bob", true).await;
    bob.session.foreground(false).await?;
    hears_presence(&mut alice, "bob", false).await;
    bob.session.foreground(true).await?;
    hears_presence(&mut alice, "bob", true).await;
    world.stop().await;
    Ok(())
}

/// Strangers and people who do not exist are left out, by stream and by call alike.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_who_share_a_conversation_know() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    let alice = world.person("alice", "phone").await?;
    talk_between(&world, &alice, "bob").await?;
    let _bob = world.person("bob", "phone").await?;
    let mallory = world.person("mallory", "phone").await?;
    let all = || vec!["alice".to_owned(), "bob".to_owned(), "nobody".to_owned()];
    assert_eq!(mallory.session.watch_presence(all()).await?, []);
    assert_eq!(mallory.client.presence(all()).await?, []);
    let known = alice.client.presence(all()).await?;
    let mut names: Vec<_> = known.into_iter().map(|presence| presence.user_id).collect();
    names.sort();
    assert_eq!(names, ["alice", "bob"]);
    world.stop().await;
    Ok(())
}

/// Who hides is offline to everybody and was never seen; who shows up again is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hides_is_not_seen() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    let mut alice = world.person("alice", "phone").await?;
    talk_between(&world, &alice, "bob").await?;
    alice.session.watch_presence(vec!["bob".into()]).await?;
    let bob = world.person("bob", "phone").await?;
    hears_presence(&mut alice, "bob", true).await;
    bob.session.set_status("at the loom".into(), true).await?;
    let hidden = hears_presence(&mut alice, "bob", false).await;
    assert_eq!(hidden.last_seen_time, None, "{hidden:?}");
    let asked = alice.client.presence(vec!["bob".into()]).await?;
    assert!(
        asked
            .iter()
            .all(|it| !it.online && it.last_seen_time.is_none()),
        "{asked:?}"
    );
    bob.session.set_status("at the loom".into(), false).await?;
    let shown = hears_presence(&mut alice, "bob", true).await;
    assert_eq!(shown.status, "at the loom");
    world.stop().await;
    Ok(())
}

fn is_ephemeral(update: &Update) -> bool {
    matches!(update, Update::Typing(_) | Update::Signal(_))
}

/// Typing and signals reach sessions in the foreground, others not, and nothing of them is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_and_signals_reach_the_foreground_and_are_never_stored() -> Result<(), Failure> {
    let mut world = World::start_with(quick).await?;
    let alice = world.person("alice", "phone").await?;
    let talk = talk_between(&world, &alice, "bob").await?;
    let mut phone = world.person("bob", "phone").await?;
    let mut laptop = world.person("bob", "laptop").await?;
    laptop.session.foreground(false).await?;
    let before = laptop.say(talk, "in the background from here").await?;
    phone.hears("in the background from here").await;
    alice.session.typing(talk, true).await?;
    let signal = v1::SendSignalRequest {
        conversation_id: talk.to_bytes(),
        r#type: "com.example.ring".into(),
        payload: bytes::Bytes::from_static(b"ring"),
        ..Default::default()
    };
    alice.session.signal(signal).await?;
    phone
        .until("typing", |update| {
            matches!(update, Update::Typing(_)).then_some(())
        })
        .await;
    let rung = |update: &Update| match update {
        Update::Signal(signal) => Some((signal.sender.clone(), signal.payload.clone())),
        _ => None,
    };
    let (sender, payload) = phone.until("the signal", rung).await;
    assert_eq!((&*sender, &*payload), ("alice", &b"ring"[..]));
    assert_eq!(
        alice.say(talk, "after").await?,
        before + 1,
        "neither took a seq"
    );
    laptop.hears("after").await;
    assert!(!laptop.seen.iter().any(is_ephemeral), "{:#?}", laptop.seen);
    world.restart().await?;
    let mut later = world.person("bob", "tablet").await?;
    later.hears("after").await;
    assert!(!later.seen.iter().any(is_ephemeral), "{:#?}", later.seen);
    world.stop().await;
    Ok(())
}
