//! How sessions end: tokens, kicks, pings, drains, devices that leave.

use crate::doubles::{
    World,
    device::{Device, hello, text},
    until,
};
use heddle_proto::{
    errors::Fault,
    internal::{EdgeResponse, Kick, SessionState, command::Op, command_result::Outcome as Word},
    v1::{
        self, ErrorReason, GoAwayReason, open_session_request::Frame as Up,
        open_session_response::Frame, result::Outcome,
    },
};
use serde_json::json;
use std::time::Duration;
use tonic::Code;

#[tokio::test]
async fn a_token_that_ends_is_warned_of_and_ends_the_session() {
    let world = World::new().await;
    let mut device = Device::connect(&world).await;
    device
        .send(0, hello(world.token_for("ann", 2, json!({})), None))
        .await;
    device.opened().await;
    assert!(matches!(device.next().await, Some(Frame::CaughtUp(_))));
    assert!(matches!(device.next().await, Some(Frame::TokenExpiring(_))));
    assert_eq!(device.gone().await, GoAwayReason::TokenExpired);
    assert!(device.next().await.is_none());
}

#[tokio::test]
async fn a_fresh_token_of_the_same_user_keeps_the_session() {
    let world = World::new().await;
    let mut device = Device::connect(&world).await;
    device
        .send(0, hello(world.token_for("ann", 2, json!({})), None))
        .await;
    device.opened().await;
    assert!(matches!(device.next().await, Some(Frame::CaughtUp(_))));
    assert!(matches!(device.next().await, Some(Frame::TokenExpiring(_))));
    let authenticate = |token| {
        Up::Authenticate(v1::AuthenticateRequest {
            token,
            ..Default::default()
        })
    };
    device.send(1, authenticate(world.token("bob"))).await;
    let (_, refused) = device.result().await;
    assert_eq!(refused.unwrap_err().field, "authenticate.token");
    device
        .send(2, authenticate(world.token_for("ann", 600, json!({}))))
        .await;
    assert!(matches!(
        device.result().await,
        (2, Ok(Outcome::Authenticate(_)))
    ));
    // tidy: allow-sleep the old token must have ended
    tokio::time::sleep(Duration::from_millis(2_200)).await;
    device.send(3, Up::Ping(v1::PingRequest::default())).await;
    assert!(matches!(device.result().await, (3, Ok(Outcome::Ping(_)))));
}

#[tokio::test]
async fn a_kick_says_why_and_ends() {
    let world = World::new().await;
    for reason in [
        GoAwayReason::Replaced,
        GoAwayReason::Revoked,
        GoAwayReason::Resume,
    ] {
        let (mut device, session) = Device::open(&world, "ann").await;
        let kick = Kick {
            session_ids: vec![session],
            reason: reason.into(),
        };
        world
            .chat
            .send(EdgeResponse {
                kicks: vec![kick],
                ..Default::default()
            })
            .await;
        assert_eq!(device.gone().await, reason);
        assert!(device.next().await.is_none());
    }
    until("no session is left", || world.gateway.sessions() == 0).await;
}

#[tokio::test]
async fn a_revoked_device_is_not_let_in() {
    let world = World::new().await;
    world.chat.script(|command| match &command.op {
        Some(Op::Attach(_)) => {
            let fault = Fault::new(ErrorReason::DeviceRevoked, "revoked");
            Some(Word::Error(fault.to_wire()))
        }
        _ => None,
    });
    let mut device = Device::connect(&world).await;
    device.send(0, hello(world.token("ann"), None)).await;
    assert_eq!(
        device.receive().await.unwrap_err().code(),
        Code::Unauthenticated
    );
    until("no session is left", || world.gateway.sessions() == 0).await;
}

#[tokio::test]
async fn who_does_not_ping_in_the_foreground_is_gone() {
    let world = World::with(|options| options.heartbeat_interval_ms = 100).await;
    let (mut device, _) = Device::open(&world, "ann").await;
    assert_eq!(device.gone().await, GoAwayReason::HeartbeatMissed);
}

#[tokio::test]
async fn who_is_sent_away_is_told_where_else_to_go() {
    let world = World::with(|options| options.public_url = Some("http://this".into())).await;
    let (mut device, _) = Device::open(&world, "ann").await;
    until("the other gateway is known", || {
        !world.gateway.elsewhere().is_empty()
    })
    .await;
    let tasks = world.tasks.clone();
    let draining = tokio::spawn(async move { tasks.drain(Duration::from_secs(8)).await });
    let gone = device.gone_away().await;
    assert_eq!(gone.reason(), GoAwayReason::Draining);
    assert_eq!(gone.addresses, ["http://other"]);
    device
        .send(1, Up::Send(text(&world, "until it goes")))
        .await;
    assert!(matches!(device.result().await, (1, Ok(Outcome::Send(_)))));
    device.finish();
    assert!(device.next().await.is_none());
    assert_eq!(draining.await.unwrap(), 0, "nothing had to be aborted");
    let seen = world.presence.seen();
    let mut said = seen.iter().rev().filter_map(|frame| frame.gateway.as_ref());
    assert!(
        said.next().is_some_and(|last| last.draining),
        "it says that it drains"
    );
}

#[tokio::test]
async fn who_does_not_go_is_served_for_a_moment_only() {
    let world = World::with(|options| {
        options.public_url = Some("http://this".into());
        options.return_spread_ms = 0;
    })
    .await;
    let (mut device, _) = Device::open(&world, "ann").await;
    until("the other gateway is known", || {
        !world.gateway.elsewhere().is_empty()
    })
    .await;
    let tasks = world.tasks.clone();
    let draining = tokio::spawn(async move { tasks.drain(Duration::from_secs(20)).await });
    assert_eq!(device.gone().await, GoAwayReason::Draining);
    assert!(device.next().await.is_none(), "told once, then the end");
    assert_eq!(draining.await.unwrap(), 0, "nothing had to be aborted");
}

#[tokio::test]
async fn an_old_session_ends_in_good_order_and_may_come_back() {
    let world = World::with(|options| options.session_age_max_ms = 200).await;
    let (mut device, _) = Device::open(&world, "ann").await;
    assert_eq!(device.gone().await, GoAwayReason::MaxAge);
    assert!(device.next().await.is_none());
    until("no session is left", || world.gateway.sessions() == 0).await;
    let (_device, _) = Device::open(&world, "ann").await;
}

#[tokio::test]
async fn a_crowd_that_comes_back_at_once_is_let_in_slowly() {
    let world = World::with(|options| {
        options.admission.sessions_per_second = 1;
        options.admission.sessions_burst = 2;
    })
    .await;
    let _first = Device::open(&world, "ann").await;
    let _second = Device::open(&world, "bob").await;
    let refused = Device::refused(&world).await;
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = tonic_types::StatusExt::get_error_details(&refused);
    assert!(
        details
            .retry_info()
            .is_some_and(|info| info.retry_delay.is_some())
    );
}

#[tokio::test]
async fn all_are_reported_anew_when_presence_has_forgotten() {
    let world = World::with(|options| options.presence_refresh_ms = 3_600_000).await;
    let (_ann, session) = Device::open(&world, "ann").await;
    let reports = || {
        let frames = world.presence.seen().into_iter();
        let reports = frames.flat_map(|frame| frame.reports);
        reports.filter(|it| it.session_id == session).count()
    };
    until("it is reported", || reports() > 0).await;
    let before = reports();
    world.presence.forget().await;
    until("it is reported anew", || reports() > before).await;
}

#[tokio::test]
async fn a_device_that_leaves_is_detached_and_gone_from_presence() {
    let world = World::new().await;
    let (device, session) = Device::open(&world, "ann").await;
    until("it is reported", || {
        let reports = world
            .presence
            .seen()
            .into_iter()
            .flat_map(|frame| frame.reports);
        reports
            .into_iter()
            .any(|report| report.state() == SessionState::Foreground)
    })
    .await;
    drop(device);
    let detached = |command: &heddle_proto::internal::Command| match &command.op {
        Some(Op::Detach(detach)) => Some(detach.session_id),
        _ => None,
    };
    assert_eq!(world.chat.saw("the detach", detached).await, session);
    until("it is gone", || {
        let reports = world
            .presence
            .seen()
            .into_iter()
            .flat_map(|frame| frame.reports);
        reports
            .into_iter()
            .any(|report| report.state() == SessionState::Gone)
    })
    .await;
    until("no session is left", || world.gateway.sessions() == 0).await;
}

#[tokio::test]
async fn a_device_that_finishes_gets_its_answers_first() {
    let world = World::new().await;
    let (mut device, _) = Device::open(&world, "ann").await;
    device.send(1, Up::Send(text(&world, "bye"))).await;
    device.finish();
    assert!(matches!(device.result().await, (1, Ok(Outcome::Send(_)))));
    assert!(device.next().await.is_none());
}

#[tokio::test]
async fn a_drain_sends_all_devices_away_and_turns_new_ones_down() {
    let world = World::new().await;
    let (mut device, _) = Device::open(&world, "ann").await;
    let tasks = world.tasks.clone();
    let draining = tokio::spawn(async move { tasks.drain(Duration::from_secs(8)).await });
    assert_eq!(device.gone().await, GoAwayReason::Draining);
    assert!(device.next().await.is_none());
    drop(device);
    assert_eq!(draining.await.unwrap(), 0, "nothing had to be aborted");
}
