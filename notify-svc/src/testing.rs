//! What the tests of pushes share: a provider that follows a script, and a shard's end of a stream.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may panic as tests may"
)]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heddle_kit::{Link, ManualClock, Tasks};
use heddle_proto::ids::LogId;
use heddle_proto::internal::notify_service_client::NotifyServiceClient;
use heddle_proto::internal::{
    IntentOutcome, NotifyRequest, NotifyResponse, PushDevice, PushIntent, PushKind,
};
use heddle_proto::v1::{PushOutcome, PushResult};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::config::NotifyConfig;
use crate::provider::{Attempt, Kind, PushProvider};
use crate::push::Push;
use crate::service::NotifyService;

pub const SOON: Duration = Duration::from_secs(20);

/// A provider that says what it is told to say, then that all is well.
pub struct Scripted {
    script: Mutex<HashMap<String, Vec<Attempt>>>,
    sent: watch::Sender<Vec<Push>>,
    /// One permit per push that may leave.
    pub gate: Semaphore,
}

impl Scripted {
    pub fn new() -> Arc<Self> {
        Self::with_permits(Semaphore::MAX_PERMITS)
    }

    /// One that takes a push only when the gate lets it through.
    pub fn held() -> Arc<Self> {
        Self::with_permits(0)
    }

    fn with_permits(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::default(),
            sent: watch::channel(Vec::new()).0,
            gate: Semaphore::new(permits),
        })
    }

    pub fn answers(self: &Arc<Self>, device: &str, answers: Vec<Attempt>) {
        self.script.lock().unwrap().insert(device.into(), answers);
    }

    pub fn sent(&self) -> Vec<Push> {
        self.sent.borrow().clone()
    }

    /// Waits until so many tries were made.
    pub async fn until_sent(&self, count: usize) {
        let mut sent = self.sent.subscribe();
        let sent = sent.wait_for(|sent| sent.len() >= count);
        tokio::time::timeout(SOON, sent).await.unwrap().unwrap();
    }
}

#[tonic::async_trait]
impl PushProvider for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn send(&self, push: &Push) -> Attempt {
        self.gate.acquire().await.unwrap().forget();
        self.sent.send_modify(|sent| sent.push(push.clone()));
        let mut script = self.script.lock().unwrap();
        match script.get_mut(&*push.device_id) {
            Some(answers) if !answers.is_empty() => answers.remove(0),
            _ => Attempt::Delivered,
        }
    }
}

pub fn config() -> NotifyConfig {
    let mut config = NotifyConfig::default();
    config.log.backoff_base_ms = 1;
    config.log.backoff_max_ms = 2;
    config.log.tries_max = 3;
    config
}

pub fn service(config: NotifyConfig, provider: &Arc<Scripted>) -> NotifyService {
    with_provider(config, provider, 77, Tasks::new("test"))
}

pub fn with_provider(
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
pub struct Shard {
    up: mpsc::Sender<NotifyRequest>,
    pub down: Streaming<NotifyResponse>,
    waiting: Vec<IntentOutcome>,
}

impl Shard {
    pub async fn link(service: &NotifyService) -> Self {
        let (up, requests) = mpsc::channel(4_096);
        let mut client = NotifyServiceClient::new(Link::local(service.routes()));
        let response = client.notify(ReceiverStream::new(requests)).await.unwrap();
        Self {
            up,
            down: response.into_inner(),
            waiting: Vec::new(),
        }
    }

    /// A message in a conversation of its own.
    pub fn intent(&self, id: u64, push_id: &str, devices: &[&str]) {
        self.say(intent(id, push_id, devices));
    }

    /// A push to the phone about what is at this position of one conversation.
    pub fn about(&self, id: u64, position: u64, kind: PushKind) {
        self.say(PushIntent {
            kind: kind.into(),
            position,
            conversation_id: LogId::direct("ann", "bob").to_bytes(),
            ..intent(id, &format!("p{id}"), &["phone"])
        });
    }

    pub fn say(&self, intent: PushIntent) {
        self.up
            .try_send(NotifyRequest {
                intents: vec![intent],
            })
            .unwrap();
    }

    pub async fn whole_outcome(&mut self) -> IntentOutcome {
        while self.waiting.is_empty() {
            let frame = tokio::time::timeout(SOON, self.down.message()).await;
            self.waiting = frame.expect("no outcome").unwrap().expect("ended").outcomes;
        }
        self.waiting.remove(0)
    }

    pub async fn outcome(&mut self) -> (u64, bool) {
        let IntentOutcome { id, settled, .. } = self.whole_outcome().await;
        (id, settled)
    }

    /// The results of an intent that is settled.
    pub async fn results(&mut self) -> Vec<PushResult> {
        let outcome = self.whole_outcome().await;
        assert!(outcome.settled, "{outcome:?}");
        outcome.results
    }

    /// The id of an intent to one device, and what it came to.
    pub async fn came_to(&mut self) -> (u64, PushOutcome) {
        let outcome = self.whole_outcome().await;
        assert_eq!(
            (outcome.settled, outcome.results.len()),
            (true, 1),
            "{outcome:?}"
        );
        (outcome.id, outcome.results[0].outcome())
    }
}

pub fn intent(id: u64, push_id: &str, devices: &[&str]) -> PushIntent {
    let device = |device: &&str| PushDevice {
        device_id: (*device).into(),
        preview: true,
        ..PushDevice::default()
    };
    PushIntent {
        id,
        push_id: push_id.into(),
        user_id: "ann".into(),
        devices: devices.iter().map(device).collect(),
        conversation_id: LogId::direct("ann", push_id).to_bytes(),
        seq: 5,
        position: 9,
        count: 2,
        badge: 3,
        mentioned: false,
        kind: PushKind::Message.into(),
        title: "Bob".into(),
        sender_name: "Bob".into(),
        preview: "see you at eight".into(),
    }
}

pub fn later() -> Attempt {
    Attempt::RetryLater {
        reason: "busy".into(),
        after: None,
    }
}
