//! Lanes, as mailbox shards see them: tries, bounds, and what takes the place of what.

use std::time::{Duration, Instant};

use heddle_proto::internal::{PushIntent, PushKind};
use heddle_proto::v1::PushOutcome;

use crate::provider::Attempt;
use crate::testing::{Scripted, Shard, config, intent, later, service};
use PushOutcome::{DeadLetter, Delivered, Superseded};

/// An erased text must not come out of a later try, whyever there is one.
#[tokio::test]
async fn a_preview_leaves_with_the_first_try_alone() {
    let expired = Attempt::CredentialsBad {
        reason: "expired".into(),
    };
    for failure in [later(), expired] {
        let provider = Scripted::new();
        provider.answers("phone", vec![failure]);
        let service = service(config(), &provider);
        let mut shard = Shard::link(&service).await;
        shard.intent(1, "p", &["phone"]);
        assert_eq!(shard.came_to().await, (1, Delivered));
        let sent = provider.sent();
        let previews: Vec<_> = sent.iter().map(|push| push.preview.as_deref()).collect();
        assert_eq!(previews, [Some("see you at eight"), None]);
    }
}

/// Nothing but the time brings the later ones on their way.
#[tokio::test]
async fn what_is_above_the_rate_leaves_later() {
    let provider = Scripted::new();
    let mut config = config();
    config.log.rate_per_second_max = 50;
    let service = service(config, &provider);
    let mut shard = Shard::link(&service).await;
    let start = Instant::now();
    (0..20).for_each(|id| shard.intent(id, &format!("p{id}"), &["phone"]));
    for _ in 0..20 {
        assert_eq!(shard.came_to().await.1, Delivered);
    }
    // Six at once, and each of the others 20 ms later.
    assert!(start.elapsed() >= Duration::from_millis(250));
}

#[tokio::test]
async fn a_newer_push_takes_the_place_of_one_that_waits_for_another_try() {
    let provider = Scripted::new();
    provider.answers("phone", vec![later()]);
    let mut config = config();
    (config.log.backoff_base_ms, config.log.backoff_max_ms) = (3_600_000, 3_600_000);
    let service = service(config, &provider);
    let mut shard = Shard::link(&service).await;
    shard.about(1, 9, PushKind::Message);
    provider.until_sent(1).await;
    shard.about(2, 10, PushKind::Clear);
    let mut ends = [shard.came_to().await, shard.came_to().await];
    ends.sort_by_key(|(id, _)| *id);
    assert_eq!(ends, [(1, Superseded), (2, Delivered)]);
    // What comes late does not overwrite what is newer.
    shard.about(3, 9, PushKind::Message);
    assert_eq!(shard.came_to().await, (3, Superseded));
    let kinds: Vec<_> = provider.sent().iter().map(|push| push.kind).collect();
    assert_eq!(kinds, [PushKind::Message, PushKind::Clear]);
}

/// However long a provider hangs, one push waits for each device and conversation.
#[tokio::test]
async fn a_provider_that_is_down_holds_up_one_push_of_a_conversation() {
    let provider = Scripted::held();
    let mut config = config();
    config.log.pushes_max = 3;
    let service = service(config, &provider);
    let mut shard = Shard::link(&service).await;
    shard.about(1, 1, PushKind::Message);
    shard.about(2, 2, PushKind::Message);
    for id in 3..50 {
        shard.about(id, id, PushKind::Message);
        assert_eq!(shard.came_to().await, (id - 1, Superseded));
    }
    provider.gate.add_permits(2);
    assert_eq!(shard.came_to().await, (1, Delivered));
    assert_eq!(shard.came_to().await, (49, Delivered));
}

#[tokio::test]
async fn over_the_bound_the_answer_is_later_at_once() {
    let provider = Scripted::held();
    let mut config = config();
    config.log.pushes_max = 2;
    let service = service(config, &provider);
    let mut shard = Shard::link(&service).await;
    for id in 1..=5 {
        shard.intent(id, &format!("p{id}"), &["phone"]);
    }
    let refused = [
        shard.outcome().await,
        shard.outcome().await,
        shard.outcome().await,
    ];
    assert_eq!(refused, [(3, false), (4, false), (5, false)]);
    provider.gate.add_permits(9);
    assert_eq!(
        [shard.outcome().await, shard.outcome().await],
        [(1, true), (2, true)]
    );
    shard.intent(6, "p3", &["phone"]);
    assert_eq!(shard.outcome().await, (6, true));
}

#[tokio::test]
async fn bad_credentials_use_up_no_tries() {
    let provider = Scripted::new();
    let expired = Attempt::CredentialsBad {
        reason: "expired".into(),
    };
    provider.answers("phone", vec![expired; 20]);
    let service = service(config(), &provider);
    let mut shard = Shard::link(&service).await;
    shard.intent(1, "p", &["phone"]);
    assert_eq!(shard.came_to().await, (1, Delivered));
}

#[tokio::test]
async fn a_provider_that_hangs_counts_as_a_failed_try() {
    let provider = Scripted::held();
    let mut config = config();
    config.log.send_timeout_ms = 5;
    let service = service(config, &provider);
    let mut shard = Shard::link(&service).await;
    shard.intent(1, "p", &["phone"]);
    let result = shard.results().await.remove(0);
    assert_eq!((result.outcome(), result.tries), (DeadLetter, 3));
}

#[tokio::test]
async fn after_the_last_try_there_is_a_dead_letter() {
    let provider = Scripted::new();
    provider.answers("phone", vec![later(); 99]);
    let too_large = Attempt::Refused {
        reason: "too large".into(),
    };
    provider.answers("watch", vec![too_large]);
    let service = service(config(), &provider);
    let mut shard = Shard::link(&service).await;
    let mut told = Vec::new();
    for (id, device) in [(1, "phone"), (2, "watch")] {
        shard.intent(id, &format!("p{id}"), &[device]);
        let result = shard.results().await.remove(0);
        told.push((result.outcome(), result.detail, result.tries));
    }
    let expected = [
        (DeadLetter, "busy".into(), 3),
        (DeadLetter, "too large".into(), 1),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_failed_push_is_tried_again() {
    let provider = Scripted::new();
    provider.answers("phone", vec![later(), later()]);
    let service = service(config(), &provider);
    let mut shard = Shard::link(&service).await;
    shard.intent(1, "p", &["phone"]);
    let result = shard.results().await.remove(0);
    assert_eq!((result.outcome(), result.tries), (Delivered, 3));
    assert_eq!(provider.sent().len(), 3);
}

/// A shard whose link broke sends its intents again, through whichever process: what is tried again
/// here then would come after what is newer there.
#[tokio::test]
async fn nothing_is_tried_again_that_nobody_waits_for() {
    let provider = Scripted::new();
    provider.answers("phone", vec![later(); 9]);
    provider.answers("watch", vec![later(); 3]);
    let mut config = config();
    (config.log.backoff_base_ms, config.log.backoff_max_ms) = (40, 40);
    config.log.tries_max = 10;
    let service = service(config, &provider);
    let gone = Shard::link(&service).await;
    gone.intent(1, "p", &["phone"]);
    provider.until_sent(1).await;
    drop(gone);
    let mut shard = Shard::link(&service).await;
    shard.intent(2, "q", &["watch"]);
    assert_eq!(shard.came_to().await, (2, Delivered));
    let sent = provider.sent();
    let to_phone = sent.iter().filter(|push| &*push.device_id == "phone");
    assert_eq!(
        to_phone.count(),
        1,
        "the watch's three pauses are longer than one"
    );
}

/// Who tests waits for the answer.
#[tokio::test]
async fn a_test_is_tried_once() {
    let provider = Scripted::new();
    provider.answers("phone", vec![later()]);
    let expired = Attempt::CredentialsBad {
        reason: "expired".into(),
    };
    provider.answers("watch", vec![expired]);
    let service = service(config(), &provider);
    let mut shard = Shard::link(&service).await;
    shard.say(PushIntent {
        kind: PushKind::Test.into(),
        ..intent(1, "p", &["phone", "watch"])
    });
    let results = shard.results().await;
    let told: Vec<_> = results.iter().map(|it| (it.outcome(), it.tries)).collect();
    assert_eq!(told, [(DeadLetter, 1); 2]);
}
