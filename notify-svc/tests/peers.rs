//! Pushes to peers that are not ours: npm's `web-push-testing`, and Node's HTTP/2, TLS and crypto
//! behind doubles of Apple and Google (`tests/peers/`).
//!
//! Without Node nothing is proved, which is loud, and in CI a failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of a test may panic as the test may"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use heddle_kit::{Link, SystemClock, Tasks};
use heddle_proto::ids::LogId;
use heddle_proto::internal::notify_service_client::NotifyServiceClient;
use heddle_proto::internal::{IntentOutcome, NotifyRequest, PushDevice, PushIntent, PushKind};
use heddle_proto::v1::PushOutcome;
use heddle_proto::v1::push_registration::Target;
use heddle_proto::v1::{ApnsTarget, FcmTarget, PushRegistration, WebPushTarget};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio_stream::wrappers::ReceiverStream;

use heddle_notify::{NotifyConfig, NotifyService};

const PEERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers");
const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/web-push");
const SOON: Duration = Duration::from_secs(30);
/// With what must survive JSON, encryption and HTTP.
const PREVIEW: &str = "see you at \"8\" \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{5e9}\u{5dc}";

/// A peer in a process of its own, which ends with the test.
struct Peer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(script: &str, arguments: &[&Path]) -> Option<Self> {
        let mut node = Command::new("node");
        node.arg(Path::new(PEERS).join(script)).args(arguments);
        node.stdin(Stdio::piped()).stdout(Stdio::piped());
        let Ok(mut child) = node.kill_on_drop(true).spawn() else {
            return missing("Node.js is not installed");
        };
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Some(Self { child, lines })
    }

    async fn line(&mut self) -> Value {
        let line = tokio::time::timeout(SOON, self.lines.next_line()).await;
        let line = line.expect("the peer says nothing").unwrap();
        serde_json::from_str(&line.expect("the peer has ended")).unwrap()
    }
}

fn missing<T>(what: &str) -> Option<T> {
    let in_ci = std::env::var("CI").is_ok_and(|value| !matches!(&*value, "" | "0" | "false"));
    assert!(!in_ci, "{what}");
    eprintln!("SKIPPED, NOTHING IS PROVED: {what}");
    None
}

/// A push to the phone, which shows previews.
fn intent(push_id: &str, kind: PushKind, targets: Vec<Target>) -> PushIntent {
    let registration = |(nth, target)| PushRegistration {
        registration_id: format!("r{nth}"),
        device_id: "phone".into(),
        create_time: None,
        target: Some(target),
    };
    PushIntent {
        id: 1,
        push_id: push_id.into(),
        user_id: "ann".into(),
        devices: vec![PushDevice {
            device_id: "phone".into(),
            preview: true,
            sound: String::new(),
            registrations: targets.into_iter().enumerate().map(registration).collect(),
        }],
        conversation_id: LogId::direct("ann", "bob").to_bytes(),
        seq: 5,
        position: 9,
        count: 2,
        badge: 3,
        mentioned: false,
        kind: kind.into(),
        title: "Hiking".into(),
        sender_name: "Bob".into(),
        preview: PREVIEW.into(),
    }
}

/// Sends one intent and waits until it is settled.
async fn push(config: &NotifyConfig, intent: PushIntent) -> IntentOutcome {
    let tasks = Tasks::new("test");
    let service = NotifyService::open(config.clone(), SystemClock::shared(), &tasks).await;
    let service = service.unwrap();
    let (up, requests) = tokio::sync::mpsc::channel(4);
    let mut client = NotifyServiceClient::new(Link::local(service.routes()));
    let response = client.notify(ReceiverStream::new(requests)).await.unwrap();
    let intents = vec![intent];
    up.send(NotifyRequest { intents }).await.unwrap();
    let mut outcomes = response.into_inner();
    let frame = tokio::time::timeout(SOON, outcomes.message()).await;
    let frame = frame.expect("it is not settled").unwrap().unwrap();
    assert_eq!(
        tasks.drain(SOON).await,
        0,
        "connections end with the service"
    );
    let outcome = frame.outcomes.into_iter().next().unwrap();
    assert!(outcome.settled, "{outcome:?}");
    outcome
}

/// The registrations that are to be removed; all others were delivered.
fn dead(outcome: &IntentOutcome) -> Vec<&str> {
    let mut dead = Vec::new();
    for result in &outcome.results {
        match result.outcome() {
            PushOutcome::TokenDead => dead.push(&*result.registration_id),
            code => assert_eq!(code, PushOutcome::Delivered, "{result:?}"),
        }
    }
    dead
}

/// A P-256 key in a file of its own; the key.
fn key_file(path: &Path) -> SecretKey {
    let key = SecretKey::from_slice(&rand::random::<[u8; 32]>()).unwrap();
    let pem = key.to_pkcs8_pem(LineEnding::LF).unwrap();
    std::fs::write(path, pem.as_bytes()).unwrap();
    key
}

#[tokio::test]
async fn a_browser_gets_what_it_can_decrypt_and_an_expired_subscription_is_removed() {
    if !Path::new(PACKAGES).is_dir() {
        missing::<()>("web-push-testing is not installed; `cargo xtask test` installs it");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vapid.pem");
    let public = key_file(&file).public_key().to_encoded_point(false);
    let public = URL_SAFE_NO_PAD.encode(public.as_bytes());
    let Some(mut peer) = Peer::start("web_push.mjs", &[Path::new(PACKAGES), Path::new(&public)])
    else {
        return;
    };
    let told = peer.line().await;
    let target = |subscription: &Value| {
        let bytes = |name: &str| {
            let text = subscription["keys"][name].as_str().unwrap();
            URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).unwrap()
        };
        Target::WebPush(WebPushTarget {
            endpoint: subscription["endpoint"].as_str().unwrap().into(),
            p256dh: bytes("p256dh").into(),
            auth: bytes("auth").into(),
        })
    };
    let mut config = NotifyConfig::default();
    config.web_push.vapid_key_file = Some(file);
    config.web_push.subject = "mailto:ops@example.com".into();
    config.endpoints_allowed = vec![format!("localhost:{}", told["port"])];
    let targets = vec![target(&told["living"]), target(&told["expired"])];
    let outcome = push(&config, intent("p", PushKind::Message, targets)).await;
    assert_eq!(dead(&outcome), ["r1"]);
    let clear = intent("q", PushKind::Clear, vec![target(&told["living"])]);
    assert_eq!(dead(&push(&config, clear).await), [""; 0]);
    let stdin = peer.child.stdin.as_mut().unwrap();
    stdin.write_all(b"what came?\n").await.unwrap();
    let messages = peer.line().await["messages"].clone();
    let decrypted =
        |nth: usize| -> Value { serde_json::from_str(messages[nth].as_str().unwrap()).unwrap() };
    assert_eq!(messages.as_array().unwrap().len(), 2);
    let (message, clear) = (decrypted(0), decrypted(1));
    assert_eq!(
        (&message["position"], &message["badge"]),
        (&"9".into(), &"3".into())
    );
    assert_eq!(message["action"], "message");
    assert_eq!(message["title"], "Hiking");
    assert_eq!(message["body"], format!("Bob: {PREVIEW}"));
    assert_eq!(clear["action"], "clear");
    assert_eq!(clear["conversation_id"], message["conversation_id"]);
    assert!(clear.get("body").is_none() && clear.get("title").is_none());
}

/// A certificate of `localhost` and its key, each in a file.
fn certificate(dir: &Path) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (certificate, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (certificate, key)
}

fn apns(device_token: &str) -> Target {
    Target::Apns(ApnsTarget {
        device_token: device_token.into(),
        ..Default::default()
    })
}

#[tokio::test]
async fn apple_s_rules_are_kept_over_http2_and_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(dir.path());
    let (signing, public) = (dir.path().join("key.p8"), dir.path().join("public.pem"));
    let pem = key_file(&signing)
        .public_key()
        .to_public_key_pem(LineEnding::LF);
    std::fs::write(&public, pem.unwrap()).unwrap();
    let said = ["TEAM123456", "KEY1234567", "com.example.chat"].map(Path::new);
    let arguments = [&*certificate, &*key, &*public, said[0], said[1], said[2]];
    let Some(mut peer) = Peer::start("apns.mjs", &arguments) else {
        return;
    };
    let mut config = NotifyConfig {
        ca_file: Some(certificate),
        ..NotifyConfig::default()
    };
    config.apns.key_file = Some(signing);
    config.apns.team_id = "TEAM123456".into();
    config.apns.key_id = "KEY1234567".into();
    config.apns.topic = "com.example.chat".into();
    config.apns.url = format!("https://localhost:{}", peer.line().await["port"]);
    config.apns.lane.backoff_base_ms = 1;
    let targets = vec![apns("00ff"), apns("dead"), apns("b0b0")];
    let outcome = push(&config, intent("p", PushKind::Message, targets)).await;
    assert_eq!(dead(&outcome), ["r1"]);
    let mut statuses = Vec::new();
    let mut collapse = Value::Null;
    for _ in 0..4 {
        let request = peer.line().await;
        assert_eq!(request["wrong"], Value::Array(vec![]), "{request}");
        let body: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["aps"]["badge"], 3);
        // What was asked to wait goes without the preview.
        let again = statuses.contains(&429) && request["path"] == "/3/device/b0b0";
        let alert = &body["aps"]["alert"];
        let shown = alert["body"].as_str().unwrap_or("");
        assert_eq!(shown.contains(PREVIEW), !again, "{alert}");
        statuses.push(request["status"].as_u64().unwrap());
        collapse = request["collapse"].clone();
    }
    statuses.sort_unstable();
    assert_eq!(
        statuses,
        [200, 200, 410, 429],
        "what was asked to wait came again"
    );
    let clear = intent("q", PushKind::Clear, vec![apns("00ff")]);
    assert_eq!(dead(&push(&config, clear).await), [""; 0]);
    let request = peer.line().await;
    assert_eq!(request["wrong"], Value::Array(vec![]), "{request}");
    assert_eq!(
        (&request["kind"], &request["collapse"]),
        (&"clear".into(), &collapse)
    );
}

#[tokio::test]
async fn google_takes_the_assertion_and_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let account = dir.path().join("account.json");
    let Some(mut peer) = Peer::start("fcm.mjs", &[&account]) else {
        return;
    };
    let port = peer.line().await["port"].clone();
    let mut config = NotifyConfig::default();
    config.fcm.service_account_file = Some(account);
    config.fcm.url = format!("http://127.0.0.1:{port}");
    let fcm = |token: &str| {
        Target::Fcm(FcmTarget {
            token: token.into(),
        })
    };
    let targets = vec![fcm("living"), fcm("gone")];
    let outcome = push(&config, intent("p", PushKind::Message, targets)).await;
    assert_eq!(dead(&outcome), ["r1"]);
    let clear = intent("q", PushKind::Clear, vec![fcm("living")]);
    assert_eq!(dead(&push(&config, clear).await), [""; 0]);
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        let request = peer.line().await;
        assert_eq!(request["wrong"], Value::Array(vec![]), "{request}");
        let is_message = request["path"] != "/token";
        if is_message {
            kinds.push(request["kind"].as_str().unwrap().to_owned());
        }
        let expected: &[u64] = if is_message { &[200, 404] } else { &[200] };
        let status = request["status"].as_u64().unwrap();
        assert!(expected.contains(&status), "{request}");
    }
    assert_eq!(kinds, ["message", "message", "clear"]);
}
