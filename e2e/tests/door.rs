//! The door: garbage, silence, crowds and floods cost those who send them, and nobody else (issue
//! section 3: accept loop and rate limits).

use heddle_e2e::{Raw, World, eventually, raw, wait::PATIENCE, world::Failure};
use heddle_kit::accept::AcceptOptions;
use heddle_sdk::{Error, Reason, v1};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;
use v1::{open_session_request::Frame as Up, user_service_client::UserServiceClient};

const HANDSHAKE_MS: u64 = 400;

fn ping() -> Up {
    Up::Ping(v1::PingRequest::default())
}

/// Until the server closes a connection on which `said` was all that was said.
async fn closed_after(world: &World, said: &[u8]) -> Result<Duration, Failure> {
    let before = Instant::now();
    let mut peer = TcpStream::connect(world.address()).await?;
    peer.write_all(said).await?;
    let mut answer = Vec::new();
    // A reset is as good as an end.
    let _closed = timeout(PATIENCE, peer.read_to_end(&mut answer)).await?;
    Ok(before.elapsed())
}

/// Peers that say nothing, half of a preface, or garbage are gone when the handshake's time is
/// over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_babbling_peers_are_gone_soon() -> Result<(), Failure> {
    let short = |config: &mut heddle::serve::assemble::ServeConfig| {
        config.serve.accept.handshake_timeout_ms = HANDSHAKE_MS;
    };
    let world = World::start_with(short).await?;
    let token = world.signer.token("alice", json!({}));
    let mut alice = Raw::session(&world.url(), &token, "phone").await?;
    let peers: [&[u8]; 5] = [
        b"",
        b"PRI * HTTP/2.0\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0xff; 4_096],
        b"GET",
    ];
    for said in peers {
        let took = closed_after(&world, said).await?;
        assert!(
            took < Duration::from_millis(HANDSHAKE_MS + 1_000),
            "{said:?} took {took:?}"
        );
        alice.ask(ping()).await?;
    }
    // A whole preface and then garbage: HTTP/2 itself ends it.
    let mut babble = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    babble.extend([0xff; 1_024]);
    closed_after(&world, &babble).await?;
    alice.ask(ping()).await?;
    world.stop().await;
    Ok(())
}

/// Two may connect: the third is closed at once, those that stand are served on, and a place that
/// becomes free is taken.
async fn holds_two(cap: impl FnOnce(&mut AcceptOptions)) -> Result<(), Failure> {
    let world = World::start_with(|config| cap(&mut config.serve.accept)).await?;
    let token = world.signer.token("alice", json!({}));
    let mut one = Raw::session(&world.url(), &token, "one").await?;
    let two = Raw::session(&world.url(), &token, "two").await?;
    assert!(Raw::session(&world.url(), &token, "three").await.is_err());
    one.ask(ping()).await?;
    drop(two);
    eventually("a place for the third", || async {
        Raw::session(&world.url(), &token, "three")
            .await
            .ok()
            .map(drop)
    })
    .await;
    world.stop().await;
    Ok(())
}

/// One address may have so many connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_an_address_are_capped() -> Result<(), Failure> {
    holds_two(|accept| accept.connections_per_address_max = 2).await
}

/// All together may have so many connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_in_all_are_capped() -> Result<(), Failure> {
    holds_two(|accept| accept.connections_max = 2).await
}

/// Peers in their handshake are capped too, and do not count for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pending_handshakes_are_capped() -> Result<(), Failure> {
    let few = |config: &mut heddle::serve::assemble::ServeConfig| {
        config.serve.accept.pending_handshakes_max = 2;
        config.serve.accept.handshake_timeout_ms = HANDSHAKE_MS;
    };
    let world = World::start_with(few).await?;
    let _first = TcpStream::connect(world.address()).await?;
    let _second = TcpStream::connect(world.address()).await?;
    let took = closed_after(&world, b"").await?;
    assert!(
        took < Duration::from_millis(HANDSHAKE_MS),
        "closed at once, not after {took:?}"
    );
    let token = world.signer.token("alice", json!({}));
    eventually("a place once the silent ones are gone", || async {
        Raw::session(&world.url(), &token, "phone")
            .await
            .ok()
            .map(drop)
    })
    .await;
    world.stop().await;
    Ok(())
}

/// Headers beyond 16 KiB are refused; the connection serves on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_list_has_a_bound() -> Result<(), Failure> {
    let world = World::start().await?;
    let token = world.signer.token("alice", json!({}));
    let mut users = UserServiceClient::new(raw::connect(&world.url()).await?);
    for (bytes, fits) in [(12 * 1024, true), (20 * 1024, false), (12 * 1024, true)] {
        let mut request = raw::authorized(v1::GetSelfRequest {}, &token);
        request
            .metadata_mut()
            .insert("padding", "x".repeat(bytes).parse()?);
        let answer = users.get_self(request).await;
        assert_eq!(answer.is_ok(), fits, "{bytes} bytes of padding: {answer:?}");
    }
    world.stop().await;
    Ok(())
}

async fn self_of(world: &World, user_id: &str, device_id: &str) -> Result<(), Error> {
    let token = world.signer.token(user_id, json!({}));
    let channel = raw::connect(&world.url())
        .await
        .map_err(|_| Error::disconnected())?;
    let mut request = raw::authorized(v1::GetSelfRequest {}, &token);
    if let Ok(device) = device_id.parse() {
        request.metadata_mut().insert("heddle-device-id", device);
    }
    UserServiceClient::new(channel).get_self(request).await?;
    Ok(())
}

fn assert_limited(error: &Error) {
    assert_eq!(
        (error.reason, error.code),
        (Reason::RateLimited, Code::ResourceExhausted)
    );
    assert!(error.retry_delay.is_some(), "it is said when to try again");
}

/// A user's calls and frames count together, over devices; others are not touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_floods_is_slowed_and_nobody_else() -> Result<(), Failure> {
    let slow = |config: &mut heddle::serve::assemble::ServeConfig| {
        let rates = &mut config.gateway.rates;
        (rates.user_per_second, rates.user_burst) = (1, 4);
        (rates.device_per_second, rates.device_burst) = (1_000, 1_000);
    };
    let world = World::start_with(slow).await?;
    let token = world.signer.token("alice", json!({}));
    let mut alice = Raw::session(&world.url(), &token, "phone").await?;
    let mut limited = None;
    for _ in 0..20 {
        limited = limited.or(alice.ask(ping()).await.err());
    }
    assert_limited(&limited.expect("alice is slowed"));
    assert_limited(
        &self_of(&world, "alice", "laptop")
            .await
            .expect_err("her other device too"),
    );
    self_of(&world, "bob", "phone").await?;
    world.stop().await;
    Ok(())
}

/// A device's calls have a limit of their own; the user's other devices are not touched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_floods_is_slowed_and_no_other() -> Result<(), Failure> {
    let slow = |config: &mut heddle::serve::assemble::ServeConfig| {
        let rates = &mut config.gateway.rates;
        (rates.device_per_second, rates.device_burst) = (1, 4);
    };
    let world = World::start_with(slow).await?;
    let mut limited = None;
    for _ in 0..20 {
        limited = limited.or(self_of(&world, "alice", "phone").await.err());
    }
    assert_limited(&limited.expect("the phone is slowed"));
    self_of(&world, "alice", "laptop").await?;
    world.stop().await;
    Ok(())
}
