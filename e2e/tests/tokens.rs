//! Tokens and devices: who gets in, for how long, and in whose name (issue section 3, DESIGN
//! section 7).

use heddle_e2e::{
    Raw, World, eventually,
    keys::{Signer, now_s},
    logs::Logs,
    people::id_of,
    raw,
    world::Failure,
};
use heddle_sdk::{Error, Reason, text, v1};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use v1::{
    GoAwayReason, open_session_request::Frame as Up, open_session_response::Frame as Down,
    user_service_client::UserServiceClient,
};

fn claims(seconds: u64) -> Value {
    json!({"sub": "alice", "aud": "heddle", "iat": now_s(), "exp": now_s() + seconds})
}

async fn sent_away(session: &mut Raw) -> GoAwayReason {
    let away = session.until("GoAway", |came| match &came.frame {
        Down::GoAway(away) => Some(away.reason()),
        _ => None,
    });
    let reason = away.await;
    assert_eq!(session.ended().await, Ok(()), "the stream ends in peace");
    reason
}

/// Why a session with this token is not opened.
async fn refused(world: &World, token: &str, device_id: &str) -> Option<Error> {
    let Ok(channel) = raw::connect(&world.url()).await else {
        panic!("no connection")
    };
    let Ok(mut session) = Raw::open(channel, token).await else {
        panic!("no stream")
    };
    let device_id = device_id.to_owned();
    let hello = v1::Hello {
        device_id,
        ..Default::default()
    };
    session.hello(hello).await.err().map(Error::from)
}

/// A session is warned before its token ends; a fresh one keeps it, without one it is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_closes_its_session_unless_a_fresh_one_comes() -> Result<(), Failure> {
    let world = World::start().await?;
    let short = world.signer.sign(&claims(3));
    let mut kept = Raw::session(&world.url(), &short, "phone").await?;
    let mut lost = Raw::session(&world.url(), &short, "laptop").await?;
    for session in [&mut kept, &mut lost] {
        let warned = session.until("TokenExpiring", |came| match &came.frame {
            Down::TokenExpiring(expiring) => expiring.expire_time,
            _ => None,
        });
        assert!(warned.await.seconds <= now_s() as i64 + 3);
    }
    let token = world.signer.sign(&claims(3600));
    kept.ask(Up::Authenticate(v1::AuthenticateRequest {
        token,
        ..Default::default()
    }))
    .await?;
    assert_eq!(sent_away(&mut lost).await, GoAwayReason::TokenExpired);
    kept.ask(Up::Ping(v1::PingRequest::default())).await?;
    world.stop().await;
    Ok(())
}

/// A session takes a fresh token of its own user only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_does_not_change_its_user() -> Result<(), Failure> {
    let world = World::start().await?;
    let token = world.signer.token("alice", json!({}));
    let mut session = Raw::session(&world.url(), &token, "phone").await?;
    let token = world.signer.token("mallory", json!({}));
    let other = Up::Authenticate(v1::AuthenticateRequest {
        token,
        ..Default::default()
    });
    let error = session.ask(other).await.expect_err("another user's token");
    assert_eq!(
        (error.reason, &*error.field),
        (Reason::InvalidField, "authenticate.token")
    );
    world.stop().await;
    Ok(())
}

/// A revoked device is closed within a second; its old token is refused there and only there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_device_is_out_within_a_second() -> Result<(), Failure> {
    let world = World::start().await?;
    let token = world.signer.token("alice", json!({}));
    let mut phone = Raw::session(&world.url(), &token, "phone").await?;
    let laptop = world.client("alice", "laptop").await?;
    let before = Instant::now();
    laptop.revoke_device("phone").await?;
    assert_eq!(sent_away(&mut phone).await, GoAwayReason::Revoked);
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "took {:?}",
        before.elapsed()
    );
    let error = refused(&world, &token, "phone")
        .await
        .expect("the old token");
    assert_eq!(
        (error.reason, error.code),
        (Reason::DeviceRevoked, tonic::Code::Unauthenticated)
    );
    assert_eq!(refused(&world, &token, "laptop").await, None);
    let mut later = claims(3600);
    later["iat"] = json!(now_s() + 2);
    assert_eq!(
        refused(&world, &world.signer.sign(&later), "phone").await,
        None
    );
    world.stop().await;
    Ok(())
}

/// Why a unary call with this token, of a device that it may name, is refused.
async fn call_refused(world: &World, token: &str, device_id: &str) -> Option<Error> {
    let Ok(channel) = raw::connect(&world.url()).await else {
        panic!("no connection")
    };
    let mut request = raw::authorized(v1::GetSelfRequest {}, token);
    if let Ok(named) = device_id.parse()
        && !device_id.is_empty()
    {
        request.metadata_mut().insert("heddle-device-id", named);
    }
    let answer = UserServiceClient::new(channel).get_self(request).await;
    answer.err().map(Error::from)
}

/// Within a second of its revocation a device's old tokens are refused to unary calls, too: where
/// the call names the device, and where the token is for that device, whatever the call says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_devices_unary_calls_are_refused_within_a_second() -> Result<(), Failure> {
    let world = World::start().await?;
    let token = world.signer.token("alice", json!({}));
    let bound = world.signer.token("alice", json!({"device": "phone"}));
    let _phone = Raw::session(&world.url(), &bound, "phone").await?;
    for (token, device) in [(&token, "phone"), (&bound, "phone"), (&bound, "")] {
        assert_eq!(call_refused(&world, token, device).await, None);
    }
    let laptop = world.client("alice", "laptop").await?;
    laptop.revoke_device("phone").await?;
    let before = Instant::now();
    for (token, device) in [(&token, "phone"), (&bound, "phone"), (&bound, "")] {
        let refused = || async { call_refused(&world, token, device).await };
        let error = eventually("the device is refused", refused).await;
        assert_eq!(
            (error.reason, error.code),
            (Reason::DeviceRevoked, tonic::Code::Unauthenticated)
        );
        assert!(before.elapsed() < Duration::from_secs(1), "{device:?}");
    }
    // The old token of the user is good for other devices; that of the phone is for none.
    assert_eq!(call_refused(&world, &token, "laptop").await, None);
    let other = call_refused(&world, &bound, "laptop").await;
    assert_eq!(other.map(|error| error.reason), Some(Reason::TokenInvalid));
    let elsewhere = refused(&world, &bound, "laptop").await;
    assert_eq!(
        elsewhere.map(|error| error.reason),
        Some(Reason::TokenInvalid)
    );
    let mut later = claims(3600);
    later["iat"] = json!(now_s() + 2);
    assert_eq!(
        call_refused(&world, &world.signer.sign(&later), "phone").await,
        None
    );
    world.stop().await;
    Ok(())
}

/// The second session of a device replaces the first; another device's stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_session_of_a_device_replaces_the_first() -> Result<(), Failure> {
    let world = World::start().await?;
    let token = world.signer.token("alice", json!({}));
    let mut first = Raw::session(&world.url(), &token, "phone").await?;
    let mut laptop = Raw::session(&world.url(), &token, "laptop").await?;
    let mut second = Raw::session(&world.url(), &token, "phone").await?;
    assert_eq!(sent_away(&mut first).await, GoAwayReason::Replaced);
    for session in [&mut laptop, &mut second] {
        session.ask(Up::Ping(v1::PingRequest::default())).await?;
    }
    world.stop().await;
    Ok(())
}

/// Signed by us, for us, now, with our algorithm: nothing else gets in, by stream or by call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_tokens_are_refused() -> Result<(), Failure> {
    let world = World::start().await?;
    let with = |name: &str, value: Value| {
        let mut changed = claims(60);
        changed[name] = value;
        world.signer.sign(&changed)
    };
    let good = world.signer.token("alice", json!({}));
    let public = std::fs::read(world.public_key())?;
    let stranger = Signer::create(&world.data_dir().join("stranger.pem"))?;
    let confused = |algorithm, key: EncodingKey| {
        jsonwebtoken::encode(&Header::new(algorithm), &claims(60), &key).expect("a token")
    };
    let (head, signature) = good.rsplit_once('.').expect("a JWT has dots");
    let mut changed = signature.to_owned();
    changed.replace_range(0..1, if signature.starts_with('A') { "B" } else { "A" });
    let body = head.split_once('.').expect("a JWT has dots").1;
    let cases = [
        ("another audience", with("aud", json!("other"))),
        ("no audience", with("aud", Value::Null)),
        ("expired", with("exp", json!(now_s() - 60))),
        ("not yet", with("nbf", json!(now_s() + 600))),
        ("nobody", with("sub", json!(""))),
        ("another key", stranger.sign(&claims(60))),
        (
            "the public key as secret",
            confused(Algorithm::HS256, EncodingKey::from_secret(&public)),
        ),
        ("another signature", format!("{head}.{changed}")),
        ("no algorithm", format!("eyJhbGciOiJub25lIn0.{body}.")),
        ("no signature", format!("{head}.")),
        ("no token", "nonsense".to_owned()),
        (
            "acting without being a service",
            with("heddle", json!({"act": "bob"})),
        ),
    ];
    for (name, token) in &cases {
        let error = refused(&world, token, "phone")
            .await
            .unwrap_or_else(|| panic!("{name}"));
        let unauthenticated = (Reason::TokenInvalid, tonic::Code::Unauthenticated);
        assert_eq!((error.reason, error.code), unauthenticated, "{name}");
        let mut users = UserServiceClient::new(raw::connect(&world.url()).await?);
        let call = users
            .get_self(raw::authorized(v1::GetSelfRequest {}, token))
            .await;
        let error = Error::from(call.err().unwrap_or_else(|| panic!("{name}")));
        assert_eq!((error.reason, error.code), unauthenticated, "{name}");
    }
    assert_eq!(refused(&world, &good, "phone").await, None);
    world.stop().await;
    Ok(())
}

/// A service token acts for a user: the message is the user's, and the audit has a line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_acts_for_a_user_and_the_audit_knows() -> Result<(), Failure> {
    let logs = Logs::listen();
    let world = World::start().await?;
    let mut bob = world.person("bob", "phone").await?;
    let claims = json!({"service": true, "act": "alice"});
    let bot = world
        .client_with(world.signer.token("greeter-bot", claims), "bot")
        .await?;
    let talk = id_of(&bot.create_direct("bob").await?)?;
    bot.session()
        .open()
        .await?
        .send(talk, text("welcome"))
        .await?;
    bob.hears("welcome").await;
    let senders: Vec<_> = bob
        .seen
        .iter()
        .filter_map(heddle_e2e::people::event_of)
        .collect();
    assert!(
        senders.iter().all(|event| event.sender == "alice"),
        "{senders:#?}"
    );
    eventually("the audit line", || async {
        let text = logs.text();
        let mut lines = text.lines().filter(|line| line.contains("audit"));
        let named = |line: &&str| line.contains("greeter-bot") && line.contains("alice");
        lines.find(named).map(drop)
    })
    .await;
    world.stop().await;
    Ok(())
}
