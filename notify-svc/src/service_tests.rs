//! Pushes over local links, as mailbox shards use them.

use heddle_kit::{Link, ManualClock};
use heddle_proto::ids::LogId;
use heddle_proto::internal::PushIntent;
use heddle_proto::internal::notify_service_client::NotifyServiceClient;
use heddle_proto::v1::PushRegistration;
use heddle_proto::v1::{PushOutcome, PushResult};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::provider::Attempt;
use crate::testing::{SOON, Scripted, Shard, config, intent, service, with_provider};
use PushOutcome::{Delivered, TokenDead};

#[tokio::test]
async fn an_intent_reaches_each_device_and_is_settled() {
    let provider = Scripted::new();
    let service = service(config(), &provider);
    let mut shard = Shard::link(&service).await;
    shard.intent(1, "p", &["phone", "tablet"]);
    let result = |device: &str| PushResult {
        device_id: device.into(),
        registration_id: String::new(),
        provider: "scripted".into(),
        outcome: Delivered.into(),
        detail: String::new(),
        tries: 1,
    };
    let mut results = shard.results().await;
    results.sort_by_key(|result| result.device_id.clone());
    assert_eq!(results, [result("phone"), result("tablet")]);
    assert_eq!(provider.sent().len(), 2);
}

#[tokio::test]
async fn a_dead_token_settles_its_push_and_names_its_registration() {
    let provider = Scripted::new();
    let gone = Attempt::TokenDead {
        reason: "gone".into(),
    };
    provider.answers("phone", vec![gone]);
    let service = service(config(), &provider);
    let mut shard = Shard::link(&service).await;
    let mut intent = intent(1, "p", &["phone"]);
    intent.devices[0].registrations = vec![PushRegistration {
        registration_id: "r".into(),
        ..PushRegistration::default()
    }];
    shard.say(intent);
    let result = shard.results().await.remove(0);
    assert_eq!(
        (result.outcome(), &*result.registration_id),
        (TokenDead, "r")
    );
}

#[tokio::test]
async fn a_repeated_push_is_sent_once() {
    let provider = Scripted::held();
    let service = service(config(), &provider);
    let (mut one, mut other) = (Shard::link(&service).await, Shard::link(&service).await);
    one.intent(1, "p", &["phone"]);
    one.intent(2, "p", &["phone"]);
    other.intent(7, "p", &["phone"]);
    // A barrier on each stream: what came before it has been taken in.
    for (shard, id) in [(&mut one, 3), (&mut other, 8)] {
        shard.intent(id, "none", &[]);
        assert_eq!(shard.outcome().await, (id, true));
    }
    provider.gate.add_permits(9);
    assert_eq!(
        [one.outcome().await, one.outcome().await],
        [(1, true), (2, true)]
    );
    assert_eq!(other.outcome().await, (7, true));
    one.intent(4, "p", &["phone"]);
    assert_eq!(
        one.came_to().await,
        (4, Delivered),
        "it is answered the same"
    );
    assert_eq!(provider.sent().len(), 1);
}

#[tokio::test]
async fn an_invalid_intent_is_refused_and_holds_nothing_up() {
    let provider = Scripted::new();
    let service = service(config(), &provider);
    let mut shard = Shard::link(&service).await;
    shard.say(PushIntent {
        id: 1,
        ..PushIntent::default()
    });
    assert_eq!(shard.outcome().await, (1, true));
    shard.intent(2, "p", &["phone"]);
    assert_eq!(shard.outcome().await, (2, true));
}

/// The process dies with pushes in hand; the shard sends its intents again, to a new one.
#[tokio::test]
async fn what_was_not_settled_at_a_crash_is_settled_when_sent_again() {
    let provider = Scripted::held();
    let dying = service(config(), &provider);
    let shard = Shard::link(&dying).await;
    (0..10).for_each(|id| shard.intent(id, &format!("p{id}"), &["phone"]));
    drop((shard, dying));
    provider.gate.add_permits(99);
    let reborn = service(config(), &provider);
    let mut shard = Shard::link(&reborn).await;
    (0..10).for_each(|id| shard.intent(id, &format!("p{id}"), &["phone"]));
    for id in 0..10 {
        assert_eq!(shard.outcome().await, (id, true));
    }
    let sent = provider.sent();
    let was_sent = |id| sent.iter().any(|it| *it.push_id == format!("p{id}"));
    assert!((0..10).all(was_sent));
}

/// As many outcomes wait for it as may; one more, and its stream ends behind them: it sends again
/// what it has not heard of. Another shard hears of its own all the while.
#[tokio::test]
async fn a_shard_that_reads_no_outcomes_is_left_and_others_hear_of_theirs() {
    const WAITING_MAX: usize = 4;
    let (provider, mut bounded) = (Scripted::new(), config());
    bounded.outbox.items_max = WAITING_MAX;
    let service = service(bounded, &provider);
    let (up, requests) = mpsc::channel(64);
    let mut client = NotifyServiceClient::new(Link::local(service.routes()));
    let stalled = client.notify(ReceiverStream::new(requests)).await;
    let mut unread = stalled.unwrap().into_inner();
    let mut other = Shard::link(&service).await;
    for id in 0..4 * WAITING_MAX as u64 {
        let intents = vec![intent(id, &format!("p{id}"), &["phone"])];
        // Who was left may be read no more.
        let _left = up.send(NotifyRequest { intents }).await;
        other.intent(id, &format!("other {id}"), &["tablet"]);
        assert_eq!(other.outcome().await, (id, true));
    }
    // An intent for nobody is settled at once, and the stream is left with the next one.
    for id in 1_000..1_002 + WAITING_MAX as u64 {
        let intents = vec![intent(id, "none", &[])];
        let _left = up.send(NotifyRequest { intents }).await;
    }
    timeout(SOON, up.closed()).await.expect("it is read on");
    let mut waited = 0;
    while let Some(frame) = timeout(SOON, unread.message()).await.unwrap().unwrap() {
        waited += frame.outcomes.len();
    }
    assert_eq!(waited, WAITING_MAX);
    let mut again = Shard::link(&service).await;
    for id in 0..4 * WAITING_MAX as u64 {
        again.intent(id, &format!("p{id}"), &["phone"]);
        assert_eq!(again.came_to().await, (id, Delivered));
    }
    let sent = provider.sent();
    let to_phone = sent.iter().filter(|push| &*push.device_id == "phone");
    assert_eq!(to_phone.count(), 4 * WAITING_MAX, "each once");
}

#[tokio::test]
async fn a_drain_finishes_what_is_being_sent_and_ends_streams() {
    let (provider, tasks) = (Scripted::held(), Tasks::new("test"));
    let service = with_provider(config(), &provider, 0, tasks.clone());
    let mut shard = Shard::link(&service).await;
    shard.intent(1, "p", &["phone"]);
    shard.intent(2, "none", &[]);
    assert_eq!(shard.outcome().await, (2, true));
    let draining = tokio::spawn(async move { tasks.drain(SOON).await });
    let ended = tokio::time::timeout(SOON, shard.down.message())
        .await
        .unwrap();
    assert!(ended.unwrap().is_none());
    provider.gate.add_permits(1);
    assert_eq!(draining.await.unwrap(), 0);
}

#[tokio::test]
async fn the_log_provider_writes_lines_that_a_program_can_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config();
    config.log_file = Some(dir.path().join("pushes.jsonl"));
    let clock = ManualClock::at(0);
    let service = NotifyService::open(config.clone(), clock, &Tasks::new("test"))
        .await
        .unwrap();
    let mut shard = Shard::link(&service).await;
    shard.intent(1, "p", &["phone"]);
    assert_eq!(shard.outcome().await, (1, true));
    let text = std::fs::read_to_string(config.log_file.unwrap()).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    let conversation = LogId::direct("ann", "p").to_string();
    let expected = serde_json::json!({
        "kind": "message", "push_id": "p", "user_id": "ann", "device_id": "phone",
        "conversation_id": conversation, "seq": 5, "position": 9, "count": 2, "badge": 3,
        "mentioned": false, "sound": "", "has_preview": true,
    });
    assert_eq!(line, expected);
}
