//! Members only: who is not a member sees nothing, live or later, and cannot tell what exists (P7).

use heddle_e2e::{
    Person, World, eventually,
    people::{event_of, id_of, text_of},
    wire::{Device, detail_of, mint, reason_of},
    world::Failure,
};
use heddle_proto::v1;
use heddle_sdk::{ConversationId, Error, Page, Reason, Update};
use std::time::{Duration, Instant};
use tonic::Code;

async fn group_of(person: &Person, others: &[&str]) -> Result<ConversationId, Failure> {
    let others = others.iter().map(|it| (*it).to_owned()).collect();
    id_of(&person.client.create_group("weavers", others).await?)
}

/// Waits until one's membership has ended; the first seq that is not due any more.
async fn removed(person: &mut Person) -> u64 {
    let until = |update: &Update| match update {
        Update::State(it) => match it.state.as_ref()?.kind.as_ref()? {
            v1::state_change::Kind::Membership(it) => Some(it.until_seq).filter(|seq| *seq > 0),
            _ => None,
        },
        _ => None,
    };
    person.until("the end of the membership", until).await
}

async fn history(person: &Person, talk: ConversationId) -> Result<Vec<u64>, Error> {
    let page = person.client.history(talk, Page::After(0), 500).await?;
    Ok(page.events.iter().map(|event| event.seq).collect())
}

/// Who is removed hears of it within a second on an open stream, and sees nothing from that seq on:
/// not on the stream, not in history, not by resume. Who is added again sees what follows, and both
/// stretches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_member_sees_nothing_more_until_added_again() -> Result<(), Failure> {
    let world = World::start().await?;
    let alice = world.person("alice", "phone").await?;
    let mut carol = world.person("carol", "phone").await?;
    let mut bob = world.person("bob", "phone").await?;
    let talk = group_of(&alice, &["bob", "carol"]).await?;
    alice.say(talk, "for carol").await?;
    carol.hears("for carol").await;
    let out = alice.client.remove_member(talk, "carol").await?;
    let begun = Instant::now();
    assert_eq!(removed(&mut carol).await, out);
    assert!(begun.elapsed() < Duration::from_secs(1));
    let secret = alice.say(talk, "not for carol").await?;
    alice.client.react(talk, secret, "+1", false).await?;
    bob.hears("not for carol").await;
    assert_eq!(history(&carol, talk).await?, [1, 2]);
    let page = carol.client.history(talk, Page::Around(secret), 50).await?;
    assert_eq!((page.head_seq, page.more_after), (out - 1, false));
    let refused = carol.client.mark(talk, secret).await.unwrap_err();
    assert_eq!(refused.reason, Reason::NotFound);
    let refused = carol.say(talk, "let me in").await.unwrap_err();
    assert_eq!(refused.downcast::<Error>()?.reason, Reason::NotFound);
    let again = alice.client.add_members(talk, vec!["carol".into()]).await?;
    let back = alice.say(talk, "carol is back").await?;
    assert_eq!(carol.hears("carol is back").await, back);
    let seen: Vec<u64> = carol
        .seen
        .iter()
        .filter_map(event_of)
        .map(|event| event.seq)
        .collect();
    assert_eq!(seen, [1, 2, again, back]);
    assert_eq!(history(&carol, talk).await?, [1, 2, again, back]);
    assert_eq!(carol.summary(talk).await?.unread_count, 1);
    let fresh = world.person("carol", "laptop").await;
    let mut fresh = fresh?;
    fresh.hears("carol is back").await;
    let resumed: Vec<u64> = fresh
        .seen
        .iter()
        .filter_map(event_of)
        .map(|event| event.seq)
        .collect();
    assert_eq!(resumed, seen);
    world.stop().await;
    Ok(())
}

/// Who leaves is out at once, and a message that is under way at that moment is either before it or
/// unseen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_under_traffic_sees_all_before_and_nothing_after() -> Result<(), Failure> {
    let world = World::start().await?;
    let alice = world.person("alice", "phone").await?;
    let mut carol = world.person("carol", "phone").await?;
    let talk = group_of(&alice, &["bob", "carol"]).await?;
    let talking = async {
        for number in 0..200 {
            alice.say(talk, &format!("line {number}")).await?;
        }
        Ok::<_, Failure>(())
    };
    let leaving = async {
        carol.hears("line 60").await;
        let out = carol.client.leave(talk).await?;
        assert_eq!(removed(&mut carol).await, out);
        Ok::<_, Failure>(out)
    };
    let (talked, out) = tokio::join!(talking, leaving);
    talked?;
    let out = out?;
    let seen: Vec<u64> = carol
        .seen
        .iter()
        .filter_map(event_of)
        .map(|event| event.seq)
        .collect();
    assert_eq!(seen, (1..out).collect::<Vec<_>>());
    assert_eq!(history(&carol, talk).await?, seen);
    world.stop().await;
    Ok(())
}

/// A member sees nothing of before the joining: not in history, not as an edit's or a reaction's
/// target.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_sees_nothing_of_before() -> Result<(), Failure> {
    let world = World::start().await?;
    let alice = world.person("alice", "phone").await?;
    let talk = group_of(&alice, &["bob"]).await?;
    let old = alice.say(talk, "before dan").await?;
    alice.client.add_members(talk, vec!["dan".into()]).await?;
    alice.say(talk, "for dan").await?;
    let mut dan = world.person("dan", "phone").await?;
    dan.hears("for dan").await;
    assert_eq!(history(&dan, talk).await?, [3, 4]);
    let page = dan.client.history(talk, Page::Around(old), 50).await?;
    assert!(
        page.events
            .iter()
            .all(|event| text_of(event) != Some("before dan"))
    );
    assert!(!page.more_before);
    for refused in [
        dan.client.react(talk, old, "+1", false).await,
        dan.client.edit(talk, old, heddle_sdk::text("mine")).await,
        dan.client.erase(talk, old).await,
    ] {
        assert_eq!(refused.unwrap_err().reason, Reason::NotFound);
    }
    world.stop().await;
    Ok(())
}

/// A group is never larger than the limit: not as it is made, not by adding; the limit is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_over_the_limit_is_refused() -> Result<(), Failure> {
    let world = World::start_with(|config| config.gateway.limits.group_members_max = 5).await?;
    let alice = world.person("alice", "phone").await?;
    let talk = group_of(&alice, &["b", "c", "d"]).await?;
    let device = Device::connect(&world, "alice", "phone").await?;
    let add = |user_ids: &[&str]| v1::AddMembersRequest {
        client_message_id: mint().to_bytes(),
        conversation_id: talk.to_bytes(),
        user_ids: user_ids.iter().map(|it| (*it).to_owned()).collect(),
        role: v1::Role::Member.into(),
    };
    let status = device
        .conversations()
        .add_members(add(&["e", "f"]))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason_of(&status).as_str()),
        (Code::FailedPrecondition, "GROUP_FULL")
    );
    assert_eq!(
        detail_of(&status, "group_members_max").as_deref(),
        Some("5")
    );
    device.conversations().add_members(add(&["e"])).await?;
    let status = device
        .conversations()
        .add_members(add(&["f"]))
        .await
        .unwrap_err();
    assert_eq!(reason_of(&status), "GROUP_FULL");
    eventually("five members", || async {
        let members = alice.client.members(talk).await.ok()?;
        (members.len() == 5).then_some(())
    })
    .await;
    let others = ["b", "c", "d", "e", "f"].map(str::to_owned).to_vec();
    let refused = alice
        .client
        .create_group("crowd", others)
        .await
        .unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition);
    world.stop().await;
    Ok(())
}
