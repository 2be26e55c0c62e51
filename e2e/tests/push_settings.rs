//! Who wants which pushes: levels, quiet hours, previews; and what is taken back once it is read or
//! erased (P9, P10).

use heddle::serve::assemble::ServeConfig;
use heddle_e2e::{
    World, eventually,
    people::id_of,
    pushes::{offline, pushed, pushes, some, to},
    world::Failure,
};
use heddle_sdk::{ConversationId, Reason, v1};

fn quick(config: &mut ServeConfig) {
    config.chat.push_grace_ms = 300;
    config.chat.push_window_ms = 50;
}

fn mention(user: &str) -> v1::Message {
    v1::Message {
        content: Some(v1::message::Content::Text(format!("@{user}"))),
        mentions: vec![v1::Mention {
            user_id: user.into(),
            start: 0,
            length: user.len() as u32 + 1,
        }],
        ..Default::default()
    }
}

fn level(talk: ConversationId, level: v1::PushLevel) -> v1::ConversationSettings {
    v1::ConversationSettings {
        conversation_id: talk.to_bytes(),
        push_level: level as i32,
        ..Default::default()
    }
}

/// Mentions only: a mention breaks through, and so does a direct message; nothing is nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mentions_and_direct_messages_break_through() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    offline(&world, "bob", "phone").await?;
    let alice = world.person("alice", "phone").await?;
    let bob = world.client("bob", "phone").await?;
    let mut groups = Vec::new();
    for title in ["mentions", "nothing"] {
        let group = alice.client.create_group(title, vec!["bob".into()]).await?;
        let group = id_of(&group)?;
        eventually("bob is a member", || async {
            bob.conversation(group).await.ok()
        })
        .await;
        groups.push(group);
    }
    let everywhere = v1::UserPushSettings {
        level: v1::PushLevel::Mentions as i32,
        muted_until_time: None,
    };
    bob.update_push_settings(Some(everywhere), None).await?;
    bob.update_settings(level(groups[1], v1::PushLevel::Nothing))
        .await?;
    alice.say(groups[0], "not for anybody").await?;
    alice.say(groups[1], "not for anybody either").await?;
    let direct = id_of(&alice.client.create_direct("bob").await?)?;
    let seq = alice.say(direct, "for you").await?;
    pushed(&world, "bob", "phone", seq).await;
    alice.session.send(groups[1], mention("bob")).await?;
    let named = alice.session.send(groups[0], mention("bob")).await?;
    let push = pushed(&world, "bob", "phone", named.seq).await;
    assert_eq!(push.badge, 3, "the silenced group is in no badge");
    let all = pushes(&world);
    assert_eq!(to(&all, "bob").len(), 2, "{all:#?}");
    world.stop().await;
    Ok(())
}

/// Quiet hours are a device's own; hours that cannot be told are refused by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_in_its_quiet_hours_gets_none() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    for device in ["phone", "tablet"] {
        offline(&world, "bob", device).await?;
    }
    let bob = world.client("bob", "phone").await?;
    let hours = |time_zone: &str| v1::DevicePushSettings {
        device_id: "phone".into(),
        quiet_hours: Some(v1::QuietHours {
            time_zone: time_zone.into(),
            start_minute: 0,
            end_minute: 1439,
        }),
        ..Default::default()
    };
    let refused = bob
        .update_push_settings(None, Some(hours("Mars/Olympus")))
        .await;
    let error = refused.expect_err("no such zone");
    assert_eq!(error.reason, Reason::InvalidField);
    assert_eq!(error.field, "device.quiet_hours.time_zone");
    // All of the day but its last minute; in one of two zones half a day apart it is not that one.
    let now_s = heddle_e2e::keys::now_s();
    let zone = match now_s / 60 % 1440 < 1430 {
        true => "UTC",
        false => "Asia/Tokyo",
    };
    bob.update_push_settings(None, Some(hours(zone))).await?;
    let alice = world.person("alice", "phone").await?;
    let talk = id_of(&alice.client.create_direct("bob").await?)?;
    let seq = alice.say(talk, "good night").await?;
    pushed(&world, "bob", "tablet", seq).await;
    let all = pushes(&world);
    let devices: Vec<_> = to(&all, "bob")
        .iter()
        .map(|it| it.device_id.clone())
        .collect();
    assert_eq!(devices, ["tablet"]);
    world.stop().await;
    Ok(())
}

/// A device that hides previews is given none, others are; an erased message is given to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn previews_go_where_they_are_wanted() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    for device in ["phone", "tablet"] {
        offline(&world, "bob", device).await?;
    }
    let bob = world.client("bob", "phone").await?;
    let hidden = v1::DevicePushSettings {
        device_id: "tablet".into(),
        preview: v1::PushPreview::Hidden as i32,
        ..Default::default()
    };
    bob.update_push_settings(None, Some(hidden)).await?;
    let alice = world.person("alice", "phone").await?;
    let talk = id_of(&alice.client.create_direct("bob").await?)?;
    let seq = alice.say(talk, "the password is swordfish").await?;
    assert!(pushed(&world, "bob", "phone", seq).await.has_preview);
    assert!(!pushed(&world, "bob", "tablet", seq).await.has_preview);
    alice.say(talk, "an older one").await?;
    let gone = alice.say(talk, "not meant for you").await?;
    alice.client.erase(talk, gone).await?;
    let push = pushed(&world, "bob", "phone", gone).await;
    assert!(!push.has_preview, "erased within the grace time");
    let log = std::fs::read_to_string(world.pushes())?;
    assert!(!log.contains("swordfish"), "no text in a log");
    world.stop().await;
    Ok(())
}

/// Read on one device, taken off the others, and the badge falls; through a restart as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_elsewhere_is_cleared() -> Result<(), Failure> {
    let mut world = World::start_with(quick).await?;
    offline(&world, "bob", "phone").await?;
    let alice = world.person("alice", "phone").await?;
    let talk = id_of(&alice.client.create_direct("bob").await?)?;
    let seq = alice.say(talk, "read me").await?;
    pushed(&world, "bob", "phone", seq).await;
    drop(alice);
    world.restart().await?;
    let laptop = world.client("bob", "laptop").await?;
    laptop.mark(talk, seq).await?;
    let clear = some(&world, "a clear", |push| push.kind == "clear").await;
    assert_eq!((&*clear.user_id, &*clear.device_id), ("bob", "phone"));
    assert_eq!(clear.badge, 0);
    world.stop().await;
    Ok(())
}

/// An erased message's notification is replaced, or goes if nothing else waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_erased_is_withdrawn() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    offline(&world, "bob", "phone").await?;
    let alice = world.person("alice", "phone").await?;
    let talk = id_of(&alice.client.create_direct("bob").await?)?;
    let first = alice.say(talk, "first").await?;
    let second = alice.say(talk, "second").await?;
    pushed(&world, "bob", "phone", second).await;
    alice.client.erase(talk, second).await?;
    let update = some(&world, "an update", |push| push.kind == "update").await;
    assert_eq!(
        (update.count, update.badge, update.has_preview),
        (1, 1, false)
    );
    alice.client.erase(talk, first).await?;
    let clear = some(&world, "a clear", |push| push.kind == "clear").await;
    assert_eq!(clear.badge, 0);
    world.stop().await;
    Ok(())
}
