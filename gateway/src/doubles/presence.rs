//! Presence: remembers what a gateway says, and says what a test wants.

use futures_util::StreamExt;
use heddle_proto::{
    internal::{
        GatewayList, GatewayStatus, PresenceAnswer, PresenceLinkRequest, PresenceLinkResponse,
        Spent, SpentTotal, presence_link_service_server::PresenceLinkService,
    },
    v1,
};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

/// A presence service in which everybody is online, and each gateway has another beside it.
#[derive(Clone, Default)]
pub struct Presence(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    seen: Vec<PresenceLinkRequest>,
    stream: Option<mpsc::Sender<Result<PresenceLinkResponse, Status>>>,
    /// What all gateways together have counted, of whichever user.
    total: u64,
}

/// A user who is online.
pub fn online(user_id: &str) -> v1::Presence {
    v1::Presence {
        user_id: user_id.into(),
        online: true,
        ..Default::default()
    }
}

impl Presence {
    /// What the gateway has said.
    pub fn seen(&self) -> Vec<PresenceLinkRequest> {
        self.0.lock().unwrap().seen.clone()
    }

    /// All that was reported is lost.
    pub async fn forget(&self) {
        let list = GatewayList {
            forgotten: true,
            ..Default::default()
        };
        self.say(PresenceLinkResponse {
            gateways: Some(list),
            ..Default::default()
        })
        .await;
    }

    /// Other gateways let in so many calls.
    pub fn spend(&self, calls: u64) {
        self.0.lock().unwrap().total += calls;
    }

    fn count(&self, spent: &Spent) -> SpentTotal {
        let mut state = self.0.lock().unwrap();
        state.total += u64::from(spent.calls);
        SpentTotal {
            user: spent.user.clone(),
            calls: spent.calls,
            total: state.total,
        }
    }

    /// A user has come online.
    pub async fn change(&self, user_id: &str) {
        self.say(PresenceLinkResponse {
            changes: vec![online(user_id)],
            ..Default::default()
        })
        .await;
    }

    async fn say(&self, frame: PresenceLinkResponse) {
        let stream = self.0.lock().unwrap().stream.clone().unwrap();
        stream.send(Ok(frame)).await.unwrap();
    }

    async fn listen(
        self,
        mut frames: Streaming<PresenceLinkRequest>,
        stream: mpsc::Sender<Result<PresenceLinkResponse, Status>>,
    ) {
        while let Some(Ok(frame)) = frames.next().await {
            let answer = |query: &heddle_proto::internal::PresenceQuery| PresenceAnswer {
                id: query.id,
                presences: query.user_ids.iter().map(|user| online(user)).collect(),
            };
            let answers: Vec<_> = frame.queries.iter().map(answer).collect();
            let other = |own: &GatewayStatus| GatewayStatus {
                address: "http://other".into(),
                gateway_id: "other".into(),
                ..own.clone()
            };
            // Who has no address of its own is alone.
            let listed = frame.gateway.as_ref().filter(|own| !own.address.is_empty());
            let gateways = listed.map(|own| GatewayList {
                gateways: vec![own.clone(), other(own)],
                ..Default::default()
            });
            let totals: Vec<_> = frame.spent.iter().map(|spent| self.count(spent)).collect();
            self.0.lock().unwrap().seen.push(frame);
            if !answers.is_empty() || !totals.is_empty() || gateways.is_some() {
                let frame = PresenceLinkResponse {
                    answers,
                    gateways,
                    totals,
                    ..Default::default()
                };
                let _gone = stream.send(Ok(frame)).await;
            }
        }
    }
}

#[async_trait]
impl PresenceLinkService for Presence {
    type PresenceLinkStream = ReceiverStream<Result<PresenceLinkResponse, Status>>;

    async fn presence_link(
        &self,
        request: Request<Streaming<PresenceLinkRequest>>,
    ) -> Result<Response<Self::PresenceLinkStream>, Status> {
        let (stream, frames) = mpsc::channel(64);
        self.0.lock().unwrap().stream = Some(stream.clone());
        tokio::spawn(self.clone().listen(request.into_inner(), stream));
        Ok(Response::new(ReceiverStream::new(frames)))
    }
}
