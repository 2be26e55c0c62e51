//! The session against a scripted server: resumes, holes, acknowledgements, how it goes and comes
//! back. Its outbox on the wire is in [`outbox`].

mod outbox;

use super::*;
use crate::double::{Double, Stage, at};
use crate::error::Reason;
use crate::{ConversationId, Outgoing, text};
use heddle_proto::errors::Fault;
use heddle_proto::v1::{GoAwayReason, ResumeOutcome, open_session_request as up};
use heddle_proto::v1::{open_session_response as down, result::Outcome};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn client(double: &Double) -> Client {
    let builder = Client::builder().address(double.address.clone());
    builder
        .token("secret".to_owned())
        .device_id("d")
        .build()
        .unwrap()
}

fn quick(client: &Client) -> SessionBuilder {
    client.session().backoff(BackoffPolicy {
        delay_base: Duration::from_millis(1),
        delay_max: Duration::from_millis(5),
    })
}

fn conversation(n: u8) -> ConversationId {
    ConversationId::from_wire(&[n; 16]).unwrap()
}

async fn next(session: &mut Session) -> Update {
    let update = tokio::time::timeout(PATIENCE, session.next()).await;
    update
        .expect("no update came")
        .expect("the session is over")
}

/// Skips what does not match.
async fn until<T>(session: &mut Session, pick: impl Fn(Update) -> Option<T>) -> T {
    loop {
        if let Some(picked) = pick(next(session).await) {
            return picked;
        }
    }
}

fn position(update: Update) -> Option<u64> {
    match update {
        Update::Event(delivery) => Some(delivery.cursor.unwrap().position),
        _ => None,
    }
}

async fn opened(double: &mut Double, head: u64) -> (Session, Stage) {
    let session = quick(&client(double)).open().await.unwrap();
    let (stage, hello) = double.open(ResumeOutcome::Fresh, head).await;
    assert_eq!((hello.token.as_str(), hello.resume), ("secret", None));
    session.connected().await.unwrap();
    (session, stage)
}

#[tokio::test]
async fn a_hole_is_resumed_and_repetitions_are_dropped() {
    let mut double = Double::start().await;
    let (mut session, stage) = opened(&mut double, 10).await;
    stage.event(10, 11).await;
    stage.event(10, 11).await;
    stage.event(12, 13).await;
    assert_eq!(until(&mut session, position).await, 11);
    let (stage, hello) = double.open(ResumeOutcome::Resumed, 13).await;
    assert_eq!(hello.resume, Some(at(11)));
    for n in 11..=13 {
        stage.event(n - 1, n).await;
    }
    assert_eq!(until(&mut session, position).await, 12);
    assert_eq!(until(&mut session, position).await, 13);
}

#[tokio::test]
async fn only_what_the_application_handled_is_acknowledged() {
    let mut double = Double::start().await;
    let (mut session, mut stage) = opened(&mut double, 0).await;
    for n in 1..=3 {
        stage.event(n - 1, n).await;
    }
    until(&mut session, position).await;
    until(&mut session, position).await;
    assert_eq!(stage.ack().await, 1);
    assert_eq!(session.cursor(), Some(at(1)));
    until(&mut session, position).await;
    assert_eq!(stage.ack().await, 2);
    session.close().await;
    assert_eq!(stage.ack().await, 3);
}

#[tokio::test]
async fn a_reset_comes_before_what_follows_it() {
    let mut double = Double::start().await;
    let lost = quick(&client(&double)).resume(Some(at(99)));
    let mut session = lost.open().await.unwrap();
    let (mut stage, hello) = double.open(ResumeOutcome::Reset, 5).await;
    assert_eq!(hello.resume, Some(at(99)));
    stage.event(5, 6).await;
    let head = until(&mut session, |update| match update {
        Update::Reset { head } => Some(head),
        Update::Event(_) => panic!("an event before the reset"),
        _ => None,
    });
    assert_eq!(head.await, at(5));
    assert_eq!(until(&mut session, position).await, 6);
    session.cursor();
    let waiting = tokio::time::timeout(Duration::from_millis(1), session.next()).await;
    assert!(waiting.is_err());
    assert_eq!(stage.ack().await, 6);
}

#[tokio::test]
async fn a_replaced_session_stays_away_and_a_drained_one_comes_back() {
    let mut double = Double::start().await;
    let (mut session, stage) = opened(&mut double, 0).await;
    let go_away = |reason: GoAwayReason| {
        down::Frame::GoAway(v1::GoAway {
            reason: reason.into(),
            ..Default::default()
        })
    };
    stage.say(go_away(GoAwayReason::Draining)).await;
    let (stage, _) = double.open(ResumeOutcome::Resumed, 0).await;
    stage.say(go_away(GoAwayReason::Replaced)).await;
    let closed = |update| match update {
        Update::Closed(error) => Some(error),
        _ => None,
    };
    let error = until(&mut session, closed).await;
    assert!(error.message.contains("REPLACED"), "{error}");
    assert!(session.next().await.is_none());
    assert!(session.connected().await.is_err());
}

#[tokio::test]
async fn who_is_asked_to_go_sends_on_and_goes_in_time() {
    let (mut double, mut other) = (Double::start().await, Double::start().await);
    let (mut session, mut stage) = opened(&mut double, 0).await;
    let go_away = v1::GoAway {
        reason: GoAwayReason::Draining.into(),
        retry_delay: Some(heddle_proto::time::duration(1_000)),
        addresses: vec![other.address.clone()],
    };
    stage.say(down::Frame::GoAway(go_away)).await;
    let asked = |update| matches!(update, Update::GoAway(_)).then_some(());
    until(&mut session, asked).await;
    let handle = session.handle();
    let (sent, _) = tokio::join!(handle.send(conversation(1), text("on")), async {
        let (request_id, _) = stage.send().await;
        stage.sent(request_id, 7).await;
    });
    assert_eq!(sent.unwrap().seq, 7, "where it was");
    let (mut elsewhere, _) = other.open(ResumeOutcome::Resumed, 0).await;
    while !stage.is_over().await {}
    let (sent, _) = tokio::join!(handle.send(conversation(1), text("gone")), async {
        let (request_id, _) = elsewhere.send().await;
        elsewhere.sent(request_id, 8).await;
    });
    assert_eq!(sent.unwrap().seq, 8);
}

#[tokio::test]
async fn marks_are_repeated_until_they_are_answered() {
    let mut double = Double::start().await;
    let (session, mut stage) = opened(&mut double, 0).await;
    session.mark_read(conversation(1), 3).await.unwrap();
    session.mark_read(conversation(1), 5).await.unwrap();
    let mark = |frame: v1::OpenSessionRequest| match frame.frame {
        Some(up::Frame::Mark(mark)) => mark.read_seq,
        other => panic!("no mark: {other:?}"),
    };
    assert_eq!(mark(stage.frame().await), 5);
    drop(stage);
    let (mut stage, _) = double.open(ResumeOutcome::Resumed, 0).await;
    assert_eq!(mark(stage.frame().await), 5);
}

#[tokio::test]
async fn a_watch_outlives_the_connection_and_a_request_does_not() {
    let mut double = Double::start().await;
    let (mut session, mut stage) = opened(&mut double, 0).await;
    let bob = |online| v1::Presence {
        user_id: "bob".into(),
        online,
        ..Default::default()
    };
    let watching = |presence| {
        let presences = vec![presence];
        Outcome::Watch(v1::WatchPresenceResponse { presences })
    };
    let (now, ()) = tokio::join!(session.watch_presence(vec!["bob".into()]), async {
        let request = stage.frame().await.request_id;
        stage.result(request, watching(bob(false))).await;
    });
    assert!(!now.unwrap()[0].online);
    let (lost, _) = tokio::join!(session.typing(conversation(1), true), async {
        stage.frame().await;
        drop(stage);
    });
    assert!(lost.unwrap_err().is_retryable());
    let (mut stage, _) = double.open(ResumeOutcome::Resumed, 0).await;
    let again = stage.frame().await;
    stage.result(again.request_id, watching(bob(true))).await;
    let seen = |update| match update {
        Update::Presence(presence) => Some(presence.online),
        _ => None,
    };
    assert!(until(&mut session, seen).await);
}

#[tokio::test]
async fn an_application_that_does_not_read_loses_nothing() {
    let mut double = Double::start().await;
    let few = quick(&client(&double)).updates_len_max(4);
    let mut session = few.open().await.unwrap();
    let (mut stage, _) = double.open(ResumeOutcome::Fresh, 0).await;
    for n in 1..=8 {
        stage.event(n - 1, n).await;
    }
    assert!(
        stage.is_over().await,
        "the client leaves when its buffer is full"
    );
    let mut seen = Vec::new();
    let reader = async {
        while seen.len() < 8 {
            seen.push(until(&mut session, position).await);
        }
    };
    // It may fill up and come back more than once.
    let server = async {
        loop {
            let (stage, hello) = double.open(ResumeOutcome::Resumed, 8).await;
            for n in hello.resume.unwrap().position + 1..=8 {
                stage.event(n - 1, n).await;
            }
        }
    };
    tokio::select! {
        () = reader => {}
        () = server => {}
    }
    assert_eq!(seen, (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_token_about_to_end_is_renewed_in_the_session() {
    let mut double = Double::start().await;
    let (_session, mut stage) = opened(&mut double, 0).await;
    stage
        .say(down::Frame::TokenExpiring(Default::default()))
        .await;
    match stage.frame().await.frame {
        Some(up::Frame::Authenticate(fresh)) => assert_eq!(fresh.token, "secret"),
        other => panic!("no token: {other:?}"),
    }
}

#[tokio::test]
async fn a_call_is_repeated_under_its_id_while_that_may_help() {
    let double = Double::start().await;
    let client = client(&double);
    let stored = v1::SendMessageResponse {
        seq: 3,
        create_time: None,
    };
    double.sends.lock().unwrap().extend([
        Err(Fault::new(Reason::OwnerChanging, "moving")),
        Err(Fault::new(Reason::TokenInvalid, "expired")),
        Ok(stored),
        Err(Fault::not_found("conversation")),
    ]);
    let outgoing = Outgoing {
        conversation_id: conversation(1),
        client_message_id: client.mint(),
        message: text("a"),
    };
    assert_eq!(client.send(outgoing.clone()).await.unwrap().seq, 3);
    let error = client.send(outgoing).await.unwrap_err();
    assert_eq!(error.reason, Reason::NotFound);
    assert_eq!(*double.tokens.lock().unwrap(), vec!["Bearer secret"; 4]);
}
