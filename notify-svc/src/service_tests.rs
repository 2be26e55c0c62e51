//! Pushes over local links, as mailbox shards use them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use heddle_kit::{Link, ManualClock};
use heddle_proto::ids::LogId;
use heddle_proto::internal::PushIntent;
use heddle_proto::internal::notify_service_client::NotifyServiceClient;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::*;
use crate::provider::Attempt;
use crate::push::Push;

const SOON: Duration = Duration::from_secs(20);

/// A provider that says what it is told to say, then that all is well.
struct Scripted {
    script: Mutex<HashMap<String, Vec<Attempt>>>,
    sent: Mutex<Vec<Push>>,
    /// One permit per push that may leave.
    gate: Semaphore,
}

impl Scripted {
    fn new() -> Arc<Self> {
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            script: Mutex::default(),
            sent: Mutex::default(),
            gate,
        })
    }

    /// One that takes a push only when the gate lets it through.
    fn held() -> Arc<Self> {
        let gate = Semaphore::new(0);
        Arc::new(Self {
            script: Mutex::default(),
            sent: Mutex::default(),
            gate,
        })
    }

    fn answers(self: &Arc<Self>, device: &str, answers: Vec<Attempt>) {
        self.script.lock().unwrap().insert(device.into(), answers);
    }

    fn sent(&self) -> Vec<(String, String)> {
        let sent = self.sent.lock().unwrap();
        let name = |push: &Push| (push.push_id.to_string(), push.device_id.to_string());
        sent.iter().map(name).collect()
    }
}

#[tonic::async_trait]
impl PushProvider for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn send(&self, push: &Push) -> Attempt {
        self.gate.acquire().await.unwrap().forget();
        self.sent.lock().unwrap().push(push.clone());
        let mut script = self.script.lock().unwrap();
        match script.get_mut(&*push.device_id) {
            Some(answers) if !answers.is_empty() => answers.remove(0),
            _ => Attempt::Delivered,
        }
    }
}

fn config() -> NotifyConfig {
    let mut config = NotifyConfig::default();
    config.log.backoff_base_ms = 1;
    config.log.backoff_max_ms = 2;
    config.log.tries_max = 3;
    config
}

fn service(config: NotifyConfig, provider: &Arc<Scripted>) -> NotifyService {
    with_provider(config, provider, 77, Tasks::new("test"))
}

fn with_provider(
    config: NotifyConfig,
    provider: &Arc<Scripted>,
    now_ms: u64,
    tasks: Tasks,
) -> NotifyService {
    let provider: Arc<dyn PushProvider> = provider.clone();
    let providers = vec![(Kind::Log, config.log.clone(), provider)];
    NotifyService::with_providers(config, providers, ManualClock::at(now_ms), tasks)
}

/// A shard's end of its stream.
struct Shard {
    up: mpsc::Sender<NotifyRequest>,
    down: Streaming<NotifyResponse>,
    waiting: Vec<PushOutcome>,
}

impl Shard {
    async fn link(service: &NotifyService) -> Self {
        let (up, requests) = mpsc::channel(4_096);
        let mut client = NotifyServiceClient::new(Link::local(service.routes()));
        let response = client.notify(ReceiverStream::new(requests)).await.unwrap();
        Self {
            up,
            down: response.into_inner(),
            waiting: Vec::new(),
        }
    }

    fn intent(&self, id: u64, push_id: &str, devices: &[&str]) {
        self.say(PushIntent {
            id,
            push_id: push_id.into(),
            user_id: "ann".into(),
            device_ids: devices.iter().map(|device| (*device).into()).collect(),
            conversation_id: LogId::direct("ann", "bob").to_bytes(),
            seq: 5,
            position: 9,
            count: 2,
            badge: 3,
            mentioned: false,
            registrations: Vec::new(),
        });
    }

    fn say(&self, intent: PushIntent) {
        self.up
            .try_send(NotifyRequest {
                intents: vec![intent],
            })
            .unwrap();
    }

    async fn outcome(&mut self) -> (u64, bool) {
        while self.waiting.is_empty() {
            let frame = tokio::time::timeout(SOON, self.down.message()).await;
            self.waiting = frame.expect("no outcome").unwrap().expect("ended").outcomes;
        }
        let PushOutcome { id, settled, .. } = self.waiting.remove(0);
        (id, settled)
    }
}

fn later() -> Attempt {
    Attempt::RetryLater {
        reason: "busy".into(),
        after: None,
    }
}

#[tokio::test]
async fn an_intent_reaches_each_device_and_is_settled() {
    let provider = Scripted::new();
    let service = service(config(), &provider);
    let mut shard = Shard::link(&service).await;
    shard.intent(1, "p", &["phone", "tablet"]);
    assert_eq!(shard.outcome().await, (1, true));
    assert_eq!(provider.sent().len(), 2);
    let report = service.report("p").unwrap();
    assert_eq!((report.delivered, report.open), (2, 0));
}

#[tokio::test]
async fn a_failed_push_is_tried_again() {
    let provider = Scripted::new();
    provider.answers("phone", vec![later(), later()]);
    let service = service(config(), &provider);
    let mut shard = Shard::link(&service).await;
    shard.intent(1, "p", &["phone"]);
    assert_eq!(shard.outcome().await, (1, true));
    assert_eq!(provider.sent().len(), 3);
    assert!(service.dead_letters(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn after_the_last_try_there_is_a_dead_letter() {
    let provider = Scripted::new();
    provider.answers("phone", vec![later(); 99]);
    provider.answers(
        "watch",
        vec![Attempt::Refused {
            reason: "too large".into(),
        }],
    );
    let service = service(config(), &provider);
    let mut shard = Shard::link(&service).await;
    shard.intent(1, "p", &["phone"]);
    assert_eq!(shard.outcome().await, (1, true));
    shard.intent(2, "q", &["watch"]);
    assert_eq!(shard.outcome().await, (2, true));
    let letters = service.dead_letters(9).await.unwrap();
    let told: Vec<_> = letters
        .iter()
        .map(|letter| {
            (
                &*letter.push.push_id,
                &*letter.reason,
                letter.tries,
                letter.time_ms,
            )
        })
        .collect();
    assert_eq!(told, [("q", "too large", 0, 77), ("p", "busy", 3, 77)]);
    assert_eq!(service.report("p").unwrap().dead_lettered, 1);
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
    assert_eq!(shard.outcome().await, (1, true));
    assert_eq!(service.report("p").unwrap().delivered, 1);
}

#[tokio::test]
async fn a_dead_token_settles_its_device() {
    let provider = Scripted::new();
    provider.answers(
        "phone",
        vec![Attempt::TokenDead {
            reason: "gone".into(),
        }],
    );
    let service = service(config(), &provider);
    let mut shard = Shard::link(&service).await;
    shard.intent(1, "p", &["phone"]);
    assert_eq!(shard.outcome().await, (1, true));
    assert_eq!(service.report("p").unwrap().dead_tokens, 1);
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
    assert_eq!(one.outcome().await, (4, true));
    assert_eq!(provider.sent().len(), 1);
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
async fn a_provider_that_hangs_counts_as_a_failed_try() {
    let provider = Scripted::held();
    let mut config = config();
    config.log.send_timeout_ms = 5;
    let service = service(config, &provider);
    let mut shard = Shard::link(&service).await;
    shard.intent(1, "p", &["phone"]);
    assert_eq!(shard.outcome().await, (1, true));
    assert_eq!(service.dead_letters(9).await.unwrap()[0].tries, 3);
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
    assert!((0..10).all(|id| sent.iter().any(|(push_id, _)| *push_id == format!("p{id}"))));
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
    let conversation = LogId::direct("ann", "bob").to_string();
    let expected = serde_json::json!({
        "push_id": "p", "user_id": "ann", "device_id": "phone", "conversation_id": conversation,
        "seq": 5, "position": 9, "count": 2, "badge": 3, "mentioned": false,
    });
    assert_eq!(line, expected);
}
