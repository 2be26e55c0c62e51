//! Canary: what people say and the tokens they say it with appear in no log line, at no level, and
//! in no metric (issue section 8, DESIGN section 8). Below INFO only our own crates are heard, as
//! in `kit`'s own subscriber: HTTP engines show headers there.

use heddle_e2e::{Raw, World, logs::Logs, people::id_of, raw, wire, world::Failure};
use heddle_kit::telemetry::{Telemetry, TelemetryOptions};
use heddle_sdk::{ConversationId, text, v1};
use serde_json::json;
use v1::{message::Content, open_session_request::Frame as Up};

const BODY: &str = "CANARYsongINthePIT";
const EDITED: &str = "CANARYsecondVERSE";
const CUSTOM: &[u8] = b"CANARYinPAYLOAD";

fn edit(of: ConversationId, words: &str) -> Up {
    Up::Edit(v1::EditMessageRequest {
        conversation_id: of.to_bytes(),
        client_message_id: wire::mint().to_bytes(),
        target_seq: 2,
        message: Some(text(words)),
    })
}

fn say(to: ConversationId, message: v1::Message) -> Up {
    let send = wire::send_of(to, &wire::mint(), "");
    Up::Send(v1::SendMessageRequest {
        message: Some(message),
        ..send
    })
}

fn custom() -> v1::Message {
    let payload = bytes::Bytes::from_static(CUSTOM);
    let content = Content::Custom(v1::Custom {
        r#type: "com.example.canary".into(),
        payload,
    });
    v1::Message {
        content: Some(content),
        ..Default::default()
    }
}

/// Everything that a canary can do, what is refused included.
async fn sing(world: &World, token: &str) -> Result<(), Failure> {
    let bob = world.person("bob", "phone").await?;
    let talk = id_of(&bob.client.create_direct("canary").await?)?;
    let mut canary = Raw::session(&world.url(), token, "cage").await?;
    canary.ask(say(talk, text(BODY))).await?;
    canary.ask(say(talk, custom())).await?;
    canary.ask(edit(talk, EDITED)).await?;
    let token = token.to_owned();
    let again = v1::AuthenticateRequest {
        token: token.clone(),
        ..Default::default()
    };
    canary.ask(Up::Authenticate(again)).await?;
    let refused = canary.ask(say(talk, text(BODY.repeat(10_000)))).await;
    assert!(refused.is_err(), "far too long");
    let refused = canary
        .ask(edit(ConversationId::direct("a", "b"), BODY))
        .await;
    assert!(refused.is_err(), "no member");
    let (head, signature) = token.rsplit_once('.').ok_or("a JWT has dots")?;
    let broken = format!("{head}x.{signature}");
    let stream = Raw::open(raw::connect(&world.url()).await?, &broken).await;
    let hello = v1::Hello {
        token: broken,
        device_id: "cage".into(),
        ..Default::default()
    };
    assert!(stream?.hello(hello).await.is_err(), "a token that is none");
    let signal = v1::SendSignalRequest {
        conversation_id: talk.to_bytes(),
        r#type: "canary".into(),
        payload: bytes::Bytes::from_static(CUSTOM),
        ..Default::default()
    };
    canary.ask(Up::Signal(signal)).await?;
    bob.client
        .history(talk, heddle_sdk::Page::Newest, 10)
        .await?;
    bob.client.erase(talk, 2).await.err();
    Ok(())
}

/// How a careless `{:?}` would show bytes.
fn shown(bytes: &[u8]) -> Vec<String> {
    let decimal: Vec<String> = bytes.iter().map(u8::to_string).collect();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        String::from_utf8_lossy(bytes).into_owned(),
        decimal.join(", "),
        hex,
    ]
}

/// Neither bodies nor tokens are in the logs at trace level, nor in what Prometheus reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_tokens_are_in_no_log_and_no_metric() -> Result<(), Failure> {
    let logs = Logs::listen();
    let telemetry = Telemetry::start("e2e", &TelemetryOptions::default())?;
    let mut world = World::start_with(|config| config.chat.push_grace_ms = 50).await?;
    let token = world.signer.token("canary", json!({}));
    sing(&world, &token).await?;
    world.restart().await?;
    let metrics = telemetry.prometheus_text();
    world.stop().await;
    assert!(metrics.contains("heddle"), "metrics are there: {metrics}");
    let told = logs.text();
    assert!(
        told.contains("TRACE") || told.contains("DEBUG"),
        "details are heard: {told}"
    );
    let secret: Vec<&str> = token.split('.').skip(1).collect();
    let canaries = [BODY.as_bytes(), EDITED.as_bytes(), CUSTOM];
    let mut sought: Vec<String> = canaries.into_iter().flat_map(shown).collect();
    sought.extend(secret.into_iter().map(str::to_owned));
    for canary in sought {
        for (place, text) in [("logs", &told), ("metrics", &metrics)] {
            let line = text.lines().find(|line| line.contains(&canary));
            assert_eq!(line, None, "{canary} is in the {place}");
        }
    }
    Ok(())
}
