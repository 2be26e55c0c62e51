//! A server double for tests: it speaks `heddle.v1` over TCP and does what a test tells it, frame
//! by frame.
//!
//! A test takes each stream that a client opens ([`Double::accept`]), reads frames up and writes
//! frames down. Unary calls are answered by a script of results, in order.

use heddle_proto::v1::messaging_service_server::{MessagingService, MessagingServiceServer};
use heddle_proto::v1::{self, open_session_request as up, open_session_response as down};
use heddle_proto::{errors::Fault, time};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

const PATIENCE: Duration = Duration::from_secs(10);

type Frames = ReceiverStream<Result<v1::OpenSessionResponse, Status>>;
type SendScript = VecDeque<Result<v1::SendMessageResponse, Fault>>;

/// The double.
pub struct Double {
    pub address: String,
    streams: mpsc::Receiver<Stage>,
    pub sends: Arc<Mutex<SendScript>>,
    pub tokens: Arc<Mutex<Vec<String>>>,
    server: tokio::task::JoinHandle<()>,
}

/// One stream, seen from the server.
pub struct Stage {
    up: Streaming<v1::OpenSessionRequest>,
    down: mpsc::Sender<Result<v1::OpenSessionResponse, Status>>,
}

#[derive(Clone)]
struct Service {
    streams: mpsc::Sender<Stage>,
    sends: Arc<Mutex<SendScript>>,
    tokens: Arc<Mutex<Vec<String>>>,
}

impl Double {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener)
    }

    fn on(listener: tokio::net::TcpListener) -> Self {
        let address: SocketAddr = listener.local_addr().unwrap();
        let (streams, accepted) = mpsc::channel(16);
        let service = Service {
            streams,
            sends: Default::default(),
            tokens: Default::default(),
        };
        let (sends, tokens) = (service.sends.clone(), service.tokens.clone());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder()
            .add_service(MessagingServiceServer::new(service))
            .serve_with_incoming(incoming.with_nodelay(Some(true)));
        Self {
            address: format!("http://{address}"),
            streams: accepted,
            sends,
            tokens,
            server: tokio::spawn(async move { server.await.unwrap() }),
        }
    }

    /// The next stream that a client opens.
    pub async fn accept(&mut self) -> Stage {
        let stream = tokio::time::timeout(PATIENCE, self.streams.recv()).await;
        stream.expect("no client came").unwrap()
    }

    /// Accepts and answers the hello with `RESUMED`, `FRESH` or `RESET`; the hello, too.
    pub async fn open(&mut self, outcome: v1::ResumeOutcome, head: u64) -> (Stage, v1::Hello) {
        let mut stage = self.accept().await;
        let up::Frame::Hello(hello) = stage.frame().await.frame.unwrap() else {
            panic!("the first frame is no hello");
        };
        stage.opened(outcome, head).await;
        (stage, hello)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Stage {
    /// The next frame up.
    pub async fn frame(&mut self) -> v1::OpenSessionRequest {
        let frame = tokio::time::timeout(PATIENCE, self.up.message()).await;
        frame
            .expect("no frame came")
            .unwrap()
            .expect("the stream ended")
    }

    /// Whether the client has ended the stream.
    pub async fn is_over(&mut self) -> bool {
        let frame = tokio::time::timeout(PATIENCE, self.up.message()).await;
        !matches!(frame.expect("neither a frame nor the end"), Ok(Some(_)))
    }

    /// The next send; other frames before it are skipped.
    pub async fn send(&mut self) -> (u64, v1::SendMessageRequest) {
        loop {
            let frame = self.frame().await;
            if let Some(up::Frame::Send(send)) = frame.frame {
                return (frame.request_id, send);
            }
        }
    }

    /// The position of the next acknowledgement; other frames before it are skipped.
    pub async fn ack(&mut self) -> u64 {
        loop {
            if let Some(up::Frame::Ack(ack)) = self.frame().await.frame {
                return ack.position;
            }
        }
    }

    pub async fn say(&self, frame: down::Frame) {
        let frame = v1::OpenSessionResponse { frame: Some(frame) };
        self.down.send(Ok(frame)).await.unwrap();
    }

    pub async fn opened(&self, outcome: v1::ResumeOutcome, head: u64) {
        self.say(down::Frame::Opened(v1::SessionOpened {
            session_id: "s".into(),
            user_id: "alice".into(),
            limits: Some(v1::Limits {
                in_flight_max: 64,
                ..Default::default()
            }),
            server_time: Some(time::timestamp(1_800_000_000_000)),
            heartbeat_interval: Some(time::duration(60_000)),
            head: Some(at(head)),
            outcome: outcome.into(),
        }))
        .await;
        self.say(down::Frame::CaughtUp(v1::CaughtUp {
            cursor: Some(at(head)),
        }))
        .await;
    }

    pub async fn event(&self, previous: u64, position: u64) {
        self.say(down::Frame::Event(v1::EventDelivery {
            cursor: Some(at(position)),
            previous_position: previous,
            ..Default::default()
        }))
        .await;
    }

    pub async fn sent(&self, request_id: u64, seq: u64) {
        let response = v1::SendMessageResponse {
            seq,
            create_time: None,
        };
        self.result(request_id, v1::result::Outcome::Send(response))
            .await;
    }

    pub async fn refuse(&self, request_id: u64, fault: Fault) {
        self.result(request_id, v1::result::Outcome::Error(fault.to_wire()))
            .await;
    }

    pub async fn result(&self, request_id: u64, outcome: v1::result::Outcome) {
        self.say(down::Frame::Result(v1::Result {
            request_id,
            outcome: Some(outcome),
        }))
        .await;
    }
}

pub fn at(position: u64) -> v1::Cursor {
    v1::Cursor { position, nonce: 7 }
}

macro_rules! silent {
    ($($name:ident: $request:ident -> $response:ident),+ $(,)?) => {$(
        #[allow(clippy::type_complexity, reason = "as async_trait writes it")]
        fn $name<'a, 'b>(
            &'a self,
            _: Request<v1::$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<v1::$response>, Status>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented("not in the double")) })
        }
    )+};
}

#[tonic::async_trait]
impl MessagingService for Service {
    type OpenSessionStream = Frames;
    type SubscribeStream =
        Pin<Box<dyn Stream<Item = Result<v1::SubscribeResponse, Status>> + Send>>;

    async fn open_session(
        &self,
        request: Request<Streaming<v1::OpenSessionRequest>>,
    ) -> Result<Response<Frames>, Status> {
        let (down, frames) = mpsc::channel(1024);
        let up = request.into_inner();
        let stage = Stage { up, down };
        self.streams
            .send(stage)
            .await
            .map_err(|_| Status::unavailable("gone"))?;
        Ok(Response::new(ReceiverStream::new(frames)))
    }

    async fn send_message(
        &self,
        request: Request<v1::SendMessageRequest>,
    ) -> Result<Response<v1::SendMessageResponse>, Status> {
        let token = request.metadata().get("authorization").unwrap();
        let token = token.to_str().unwrap().to_owned();
        self.tokens.lock().unwrap().push(token);
        let next = self.sends.lock().unwrap().pop_front();
        Ok(Response::new(next.expect("a call beyond the script")?))
    }

    async fn subscribe(
        &self,
        _: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::unimplemented("not in the double"))
    }

    silent! {
        edit_message: EditMessageRequest -> EditMessageResponse,
        erase_message: EraseMessageRequest -> EraseMessageResponse,
        react: ReactRequest -> ReactResponse,
        mark: MarkRequest -> MarkResponse,
        hide_messages: HideMessagesRequest -> HideMessagesResponse,
        send_typing: SendTypingRequest -> SendTypingResponse,
        watch_presence: WatchPresenceRequest -> WatchPresenceResponse,
        set_status: SetStatusRequest -> SetStatusResponse,
        send_signal: SendSignalRequest -> SendSignalResponse,
        ack: AckRequest -> AckResponse,
        ping: PingRequest -> PingResponse,
        set_foreground: SetForegroundRequest -> SetForegroundResponse,
        authenticate: AuthenticateRequest -> AuthenticateResponse,
        list_events: ListEventsRequest -> ListEventsResponse,
    }
}
