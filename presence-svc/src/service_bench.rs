//! A presence process over a local link, and gateways that use it, for tests.

use std::time::Duration;

use heddle_kit::{Link, ManualClock};
use heddle_proto::internal::presence_link_service_client::PresenceLinkServiceClient;
use heddle_proto::internal::{
    GatewayStatus, PresenceAnswer, PresenceQuery, SessionReport, SessionState, Spent, SpentTotal,
    StatusChange, WatchChange,
};
use heddle_proto::v1::Presence;
use tokio::sync::mpsc::Sender;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

pub const SOON: Duration = Duration::from_secs(20);
pub const NOW_MS: u64 = 1_000_000;

/// One presence process.
pub struct World {
    pub service: PresenceService,
    pub clock: Arc<ManualClock>,
    pub tasks: Tasks,
    pub dir: tempfile::TempDir,
}

/// One gateway's end of its stream.
pub struct Gateway {
    pub up: Sender<PresenceLinkRequest>,
    pub down: Streaming<PresenceLinkResponse>,
    pub waiting: Vec<Presence>,
}

impl World {
    pub async fn new(change: impl FnOnce(&mut PresenceConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, tasks) = (ManualClock::at(NOW_MS), Tasks::new("test"));
        let mut config = PresenceConfig {
            tick_ms: 5,
            ..PresenceConfig::default()
        };
        config.data_dir = dir.path().into();
        change(&mut config);
        let service = PresenceService::open(config, clock.clone(), &tasks)
            .await
            .unwrap();
        Self {
            service,
            clock,
            tasks,
            dir,
        }
    }

    pub async fn gateway(&self, gateway_id: &str) -> Gateway {
        let (up, requests) = mpsc::channel(4_096);
        let mut client = PresenceLinkServiceClient::new(Link::local(self.service.routes()));
        let response = client
            .presence_link(ReceiverStream::new(requests))
            .await
            .unwrap();
        let gateway = Gateway {
            up,
            down: response.into_inner(),
            waiting: Vec::new(),
        };
        gateway.say(PresenceLinkRequest {
            gateway_id: gateway_id.into(),
            ..PresenceLinkRequest::default()
        });
        gateway
    }
}

impl Gateway {
    pub fn say(&self, frame: PresenceLinkRequest) {
        self.up.try_send(frame).unwrap();
    }

    pub fn report(&self, user: &str, session_id: u64, state: SessionState) {
        let report = SessionReport {
            user_id: user.into(),
            session_id,
            state: state.into(),
        };
        self.say(PresenceLinkRequest {
            reports: vec![report],
            ..PresenceLinkRequest::default()
        });
    }

    pub fn watch(&self, user: &str, watch: bool) {
        let watches = vec![WatchChange {
            user_id: user.into(),
            watch,
        }];
        self.say(PresenceLinkRequest {
            watches,
            ..PresenceLinkRequest::default()
        });
    }

    pub fn set(&self, user: &str, status: &str, hidden: bool) {
        let status = StatusChange {
            user_id: user.into(),
            status: status.into(),
            hidden,
        };
        self.say(PresenceLinkRequest {
            statuses: vec![status],
            ..PresenceLinkRequest::default()
        });
    }

    /// Calls of a user are told of; what all gateways have counted.
    pub async fn spend(&mut self, user: u8, calls: u32) -> Vec<SpentTotal> {
        let spent = Spent {
            user: vec![user; 16].into(),
            calls,
        };
        self.say(PresenceLinkRequest {
            spent: vec![spent],
            ..PresenceLinkRequest::default()
        });
        loop {
            let frame = tokio::time::timeout(SOON, self.down.message()).await;
            let frame = frame.expect("no totals").unwrap().unwrap();
            self.waiting.extend(frame.changes);
            if !frame.totals.is_empty() {
                return frame.totals;
            }
        }
    }

    /// Says that it is there; whether it was not known.
    pub async fn is_forgotten(&mut self, address: &str) -> bool {
        let status = GatewayStatus {
            address: address.into(),
            ..GatewayStatus::default()
        };
        self.say(PresenceLinkRequest {
            gateway: Some(status),
            ..PresenceLinkRequest::default()
        });
        loop {
            let frame = tokio::time::timeout(SOON, self.down.message()).await;
            let frame = frame.expect("no list").unwrap().unwrap();
            self.waiting.extend(frame.changes);
            if let Some(list) = frame.gateways {
                let named = |it: &GatewayStatus| it.address == address;
                assert_eq!(list.gateways.iter().filter(|it| named(it)).count(), 1);
                return list.forgotten;
            }
        }
    }

    /// The next news.
    pub async fn news(&mut self) -> Presence {
        while self.waiting.is_empty() {
            let frame = tokio::time::timeout(SOON, self.down.message()).await;
            self.waiting = frame.expect("no news").unwrap().unwrap().changes;
        }
        self.waiting.remove(0)
    }

    /// What is known of a user; news that come meanwhile wait.
    pub async fn ask(&mut self, user: &str) -> Presence {
        let queries = vec![PresenceQuery {
            id: 7,
            user_ids: vec![user.into()],
        }];
        self.say(PresenceLinkRequest {
            queries,
            ..PresenceLinkRequest::default()
        });
        loop {
            let frame = tokio::time::timeout(SOON, self.down.message()).await;
            let frame = frame.expect("no answer").unwrap().unwrap();
            self.waiting.extend(frame.changes);
            if let Some(PresenceAnswer { id, mut presences }) = frame.answers.into_iter().next() {
                assert_eq!((id, presences.len()), (7, 1));
                return presences.remove(0);
            }
        }
    }

    pub async fn end(&mut self) -> tonic::Code {
        loop {
            match tokio::time::timeout(SOON, self.down.message())
                .await
                .expect("no end")
            {
                Ok(Some(_)) => {}
                Ok(None) => return tonic::Code::Ok,
                Err(status) => return status.code(),
            }
        }
    }
}
