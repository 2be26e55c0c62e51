//! What became of pushes: tests, outcomes, dead letters that survive and are sent again (P9).

use heddle::serve::assemble::ServeConfig;
use heddle_e2e::{
    World, eventually,
    people::id_of,
    pushes::{offline, some},
    world::Failure,
};
use heddle_sdk::{Client, Reason, v1};
use serde_json::json;
use v1::push_registration::Target;

fn quick(config: &mut ServeConfig) {
    config.chat.push_grace_ms = 300;
    config.chat.push_window_ms = 50;
}

/// A server that no push may be posted to: it is inside.
fn webhook_inside() -> Target {
    Target::Webhook(v1::WebhookTarget {
        url: "https://127.0.0.1/hook".into(),
        secret: vec![7; 32].into(),
    })
}

async fn operator(world: &World) -> Result<Client, Failure> {
    let token = world.signer.token("ops", json!({"admin": true}));
    world.client_with(token, "terminal").await
}

async fn letters(operator: &Client) -> Vec<v1::DeadLetter> {
    let page = operator.dead_letters("", "").await;
    page.map(|page| page.dead_letters).unwrap_or_default()
}

/// A test tells what each provider says, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_tells_what_each_provider_says() -> Result<(), Failure> {
    let world = World::start_with(quick).await?;
    for device in ["phone", "tablet"] {
        offline(&world, "bob", device).await?;
    }
    let bob = world.client("bob", "phone").await?;
    bob.register_push("phone", webhook_inside()).await?;
    let results = bob.test_push("").await?;
    let said: Vec<_> = results
        .iter()
        .map(|it| (it.device_id.as_str(), it.provider.as_str(), it.outcome()))
        .collect();
    use v1::PushOutcome::{DeadLetter, Delivered};
    assert_eq!(
        said,
        [
            ("phone", "webhook", DeadLetter),
            ("tablet", "log", Delivered)
        ]
    );
    assert!(results[0].detail.contains("public"), "{results:?}");
    assert_eq!(letters(&operator(&world).await?).await, []);
    let error = bob.test_push("alice").await.expect_err("not one's own");
    assert_eq!(error.reason, Reason::RoleRequired);
    world.stop().await;
    Ok(())
}

/// A push that is given up can be found, through a restart; redriven, it goes where the device is
/// now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_survives_and_is_sent_again() -> Result<(), Failure> {
    let mut world = World::start_with(quick).await?;
    offline(&world, "bob", "phone").await?;
    let bob = world.client("bob", "phone").await?;
    let registration = bob.register_push("phone", webhook_inside()).await?;
    let alice = world.person("alice", "phone").await?;
    let talk = id_of(&alice.client.create_direct("bob").await?)?;
    let seq = alice.say(talk, "swordfish").await?;
    let admin = operator(&world).await?;
    let letter = eventually("a dead letter", || async { letters(&admin).await.pop() }).await;
    assert_eq!((&*letter.user_id, letter.seq), ("bob", seq));
    let result = letter.result.clone().unwrap_or_default();
    assert_eq!(result.registration_id, registration.registration_id);
    let outcome = bob.push("", &letter.push_id).await?;
    assert_eq!(outcome.results, [result]);
    let unknown = bob.push("", "unknown").await.expect_err("no such push");
    assert_eq!(unknown.reason, Reason::NotFound);
    let stranger = bob.dead_letters("", "").await.expect_err("no admin");
    assert_eq!(stranger.reason, Reason::RoleRequired);
    drop(alice);
    world.restart().await?;

    let admin = operator(&world).await?;
    assert_eq!(letters(&admin).await.pop(), Some(letter.clone()));
    let bob = world.client("bob", "phone").await?;
    bob.unregister_push("phone", &registration.registration_id)
        .await?;
    let push_id = admin.redrive_push(&letter.dead_letter_id).await?;
    let push = some(&world, "the letter's push", |push| push.push_id == push_id).await;
    assert_eq!((&*push.kind, push.seq, push.badge), ("message", seq, 1));
    eventually("the letter is gone", || async {
        letters(&admin).await.is_empty().then_some(())
    })
    .await;
    let twice = admin.redrive_push(&letter.dead_letter_id).await;
    assert_eq!(twice.expect_err("gone").reason, Reason::NotFound);
    world.stop().await;
    Ok(())
}
