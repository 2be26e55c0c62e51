//! Hostile endpoints: none leads to an address that is not public, whatever its URL or its DNS say,
//! and none that hangs holds up others.
//!
//! A dial to such an address would end in [`DialError::Network`] or an answer; a refusal before
//! any packet is [`BadEndpoint`] or [`DialError::NotPublic`], and nothing else passes here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of a test may panic as the test may"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use heddle_kit::{Link, SystemClock, Tasks};
use heddle_notify::http::dial::{DialError, Dialer, Resolver, dialable};
use heddle_notify::http::endpoint::{BadEndpoint, Endpoint};
use heddle_notify::http::{Answer, Client, PostError};
use heddle_notify::{NotifyConfig, NotifyService};
use heddle_proto::ids::LogId;
use heddle_proto::internal::notify_service_client::NotifyServiceClient;
use heddle_proto::internal::{NotifyRequest, PushDevice, PushIntent, PushKind};
use heddle_proto::v1::PushOutcome;
use heddle_proto::v1::push_registration::Target;
use heddle_proto::v1::{PushRegistration, WebhookTarget};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;

const SOON: Duration = Duration::from_secs(20);

/// Addresses inside, each with why.
const INSIDE_V4: [&str; 24] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
];

const INSIDE_V6: [&str; 16] = [
    "::",
    "::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "100::1",
    "64:ff9b:1::1",
    "2001::1",
    "2001:10::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "4000::1",
];

/// The ways to write an IPv4 address in a URL, or inside an IPv6 one.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    vec![
        format!("{address}"),
        format!("{address}."),
        format!("{}", address.to_bits()),
        format!("0x{:08x}", address.to_bits()),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a}.{}", address.to_bits() & 0x00ff_ffff),
        format!(
            "%{:02x}{}",
            a.to_string().as_bytes()[0],
            &address.to_string()[1..]
        ),
        format!("[::ffff:{address}]"),
        format!("[::{high:x}:{low:x}]"),
        format!("[64:ff9b::{high:x}:{low:x}]"),
        format!("[2002:{high:x}:{low:x}::1]"),
    ]
}

fn urls() -> Vec<String> {
    let v4 = INSIDE_V4.iter().map(|it| it.parse().unwrap());
    let mut hosts: Vec<_> = v4.flat_map(spellings).collect();
    hosts.extend(INSIDE_V6.iter().map(|it| format!("[{it}]")));
    // Names, which the double resolves to addresses inside.
    hosts.extend(["localhost", "metadata.google.internal", "rebind.example"].map(String::from));
    let mut urls: Vec<_> = hosts
        .iter()
        .map(|host| format!("https://{host}/push"))
        .collect();
    urls.extend(
        [
            "http://push.example/",
            "https://push.example:8443/",
            "https://push.example:80/",
            "https://push.example:22/",
            "https://user@push.example/",
            "https://user:word@push.example/",
            "https://push.example@127.0.0.1/",
            "https://push.example\\@127.0.0.1/",
            "https://127.0.0.1\\@push.example:22/",
            "https://127.0.0.1#@push.example/",
            "https://127.0.0.1?@push.example/",
            "ftp://push.example/",
            "file:///etc/passwd",
            "gopher://127.0.0.1:6379/_FLUSHALL",
            "unix:/run/docker.sock",
            "data:text/plain,x",
            "javascript:alert(1)",
            "https://",
            "https:///",
            "//push.example/",
            "push.example",
            "",
            "https://[::1",
            "https://[::1%25eth0]/",
            "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
            "https://\u{2460}27.0.0.1/",
            "https://127\u{3002}0\u{3002}0\u{3002}1/",
            "https://127.1/",
            "https://0/",
            "https://0x7f.1/",
            "https://0177.0.0.01/",
        ]
        .map(String::from),
    );
    urls
}

/// Answers with these, one after the other, the last one for ever; counts the questions.
struct Double {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

#[tonic::async_trait]
impl Resolver for Double {
    async fn resolve(&self, _host: &str) -> std::io::Result<Vec<IpAddr>> {
        let nth = self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(self.answers[nth.min(self.answers.len() - 1)].clone())
    }
}

fn client(answers: Vec<Vec<IpAddr>>) -> (Client, Arc<Double>) {
    let double = Arc::new(Double {
        answers,
        asked: AtomicUsize::new(0),
    });
    let dialer = Dialer::new(double.clone(), rustls::RootCertStore::empty());
    (Client::new(dialer, 8, Tasks::new("test")), double)
}

async fn post(client: &Client, url: &str, allowed: &[String]) -> Result<Answer, String> {
    let endpoint = match Endpoint::registered(url, allowed) {
        Ok(endpoint) => endpoint,
        Err(BadEndpoint::NoUrl) => return Err("no URL".into()),
        Err(refused) => return Err(refused.to_string()),
    };
    match client
        .post(&endpoint, HeaderMap::new(), Bytes::new(), None)
        .await
    {
        Err(PostError::Dial(DialError::NotPublic)) => Err("not public".into()),
        Err(other) => panic!("{url} was dialled: {other}"),
        Ok(answer) => Ok(answer),
    }
}

#[tokio::test]
async fn no_hostile_url_is_dialled() {
    let urls = urls();
    assert!(urls.len() > 200, "{}", urls.len());
    for inside in ["127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1", "fd00::1"] {
        let (client, _) = client(vec![vec![inside.parse().unwrap()]]);
        for url in &urls {
            let answer = post(&client, url, &[]).await;
            assert!(answer.is_err(), "{url}");
        }
    }
}

/// A name that is public at first and inside the second time: it is asked for once, and what was
/// judged is what is dialled.
#[tokio::test]
async fn a_name_is_resolved_once_for_each_connection() {
    let inside: IpAddr = Ipv4Addr::LOCALHOST.into();
    let (client, double) = client(vec![vec![inside], vec!["9.9.9.9".parse().unwrap()]]);
    let refused = post(&client, "https://rebind.example/", &[]).await;
    assert_eq!(refused.err().as_deref(), Some("not public"));
    assert_eq!(double.asked.load(Ordering::Relaxed), 1);
}

#[test]
fn of_several_addresses_only_public_ones_are_dialled() {
    let endpoint = Endpoint::registered("https://rebind.example/", &[]).unwrap();
    let public: IpAddr = "9.9.9.9".parse().unwrap();
    let addresses = [
        Ipv4Addr::LOCALHOST.into(),
        public,
        Ipv6Addr::LOCALHOST.into(),
    ];
    assert_eq!(dialable(&endpoint, &addresses), [(public, 443).into()]);
}

#[test]
fn real_push_services_are_public() {
    for url in [
        "https://fcm.googleapis.com/fcm/send/x",
        "https://updates.push.services.mozilla.com/wpush/v2/x",
        "https://web.push.apple.com/x",
        "https://9.9.9.9/x",
        "https://[2606:4700::1]/x",
    ] {
        assert!(Endpoint::registered(url, &[]).is_ok(), "{url}");
    }
}

/// An operator's allowance holds for that host and port alone; and a redirect is not followed.
#[tokio::test]
async fn what_is_allowed_by_name_is_dialled_and_a_redirect_is_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4_096];
        let read = stream.read(&mut request).await.unwrap();
        let answer = "HTTP/1.1 307 Elsewhere\r\nlocation: http://127.0.0.1:1/\r\n\
            content-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    let (client, _) = client(vec![vec![]]);
    let allowed = [address.to_string()];
    let elsewhere = post(&client, "http://127.0.0.1:1/", &allowed).await;
    assert!(elsewhere.is_err());
    let url = format!("http://{address}/path?query");
    let answer = post(&client, &url, &allowed).await.unwrap();
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    let request = serving.await.unwrap();
    assert!(
        request.starts_with("POST /path?query HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains(&format!("host: {address}\r\n")),
        "{request}"
    );
}

/// What must not be sent late does not leave over a connection that came too late.
#[tokio::test]
async fn what_may_not_leave_any_more_stays_here() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        stream.read_to_end(&mut request).await.unwrap();
        request
    });
    let (client, _) = client(vec![vec![]]);
    let url = format!("http://{address}/");
    let endpoint = Endpoint::registered(&url, &[address.to_string()]).unwrap();
    let by = Some(Instant::now());
    let late = client.post(&endpoint, HeaderMap::new(), "preview".into(), by);
    let answer = timeout(SOON, late).await.expect("it was posted");
    assert!(matches!(answer, Err(PostError::Late)));
    let came = timeout(SOON, serving).await.unwrap().unwrap();
    assert!(came.is_empty(), "{}", String::from_utf8_lossy(&came));
}

/// A server that answers each connection's post, or none of them for ever.
async fn endpoint(answers: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if answers {
                let mut request = [0; 8_192];
                let _ = stream.read(&mut request).await.unwrap();
                let answer = "HTTP/1.1 204 No Content\r\n\r\n";
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            held.push(stream);
        }
    });
    address
}

/// More pushes than the lane has places go to a webhook that takes connections and says nothing;
/// the others of the lane arrive all the same.
#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_no_other() {
    let (hanging, living) = (endpoint(false).await, endpoint(true).await);
    let mut config = NotifyConfig {
        endpoints_allowed: vec![hanging.clone(), living.clone()],
        ..NotifyConfig::default()
    };
    config.webhook.concurrency_max = 8;
    config.webhook.per_origin_max = 4;
    config.webhook.send_timeout_ms = 3_600_000;
    let tasks = Tasks::new("test");
    let service = NotifyService::open(config, SystemClock::shared(), &tasks).await;
    let (up, requests) = tokio::sync::mpsc::channel(4);
    let mut client = NotifyServiceClient::new(Link::local(service.unwrap().routes()));
    let response = client.notify(ReceiverStream::new(requests)).await.unwrap();
    let intents = (0..40).map(|id| webhook_intent(id, if id < 30 { &hanging } else { &living }));
    let intents = intents.collect();
    up.send(NotifyRequest { intents }).await.unwrap();
    let mut outcomes = response.into_inner();
    let mut delivered = Vec::new();
    while delivered.len() < 10 {
        let frame = timeout(SOON, outcomes.message()).await;
        let frame = frame.expect("the others are held up").unwrap().unwrap();
        for outcome in frame.outcomes {
            assert_eq!(outcome.results[0].outcome(), PushOutcome::Delivered);
            delivered.push(outcome.id);
        }
    }
    delivered.sort_unstable();
    assert_eq!(delivered, (30..40).collect::<Vec<_>>());
}

fn webhook_intent(id: u64, address: &str) -> PushIntent {
    let target = WebhookTarget {
        url: format!("http://{address}/{id}"),
        secret: vec![7; 32].into(),
    };
    let registration = PushRegistration {
        registration_id: format!("r{id}"),
        target: Some(Target::Webhook(target)),
        ..PushRegistration::default()
    };
    PushIntent {
        id,
        push_id: format!("p{id}"),
        user_id: "ann".into(),
        devices: vec![PushDevice {
            device_id: "phone".into(),
            registrations: vec![registration],
            ..PushDevice::default()
        }],
        conversation_id: LogId::direct("ann", "bob").to_bytes(),
        kind: PushKind::Message.into(),
        ..PushIntent::default()
    }
}
