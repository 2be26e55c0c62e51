//! Provoke: calls that fail, each with the reason that it is to fail with.

use heddle::serve::assemble::ServeConfig;
use heddle_e2e::{Raw, World, people::id_of, raw, wire, world::Failure};
use heddle_sdk::{Client, ConversationId, Error, Reason, text, v1};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;
use v1::{
    message::Content, messaging_service_client::MessagingServiceClient,
    open_session_request::Frame as Up, open_session_response::Frame as Down,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What was to be told, and what was.
pub type Told = Vec<(Reason, Option<Error>)>;

/// Alice, and her conversation with bob.
struct Stage {
    world: World,
    token: String,
    client: Client,
    session: Raw,
    talk: ConversationId,
}

async fn stage(change: impl FnOnce(&mut ServeConfig)) -> Result<Stage, Failure> {
    let world = World::start_with(change).await?;
    let token = world.signer.token("alice", json!({}));
    let client = world.client("alice", "laptop").await?;
    let talk = id_of(&client.create_direct("bob").await?)?;
    let session = Raw::session(&world.url(), &token, "phone").await?;
    Ok(Stage {
        world,
        token,
        client,
        session,
        talk,
    })
}

impl Stage {
    /// What a send is refused with, changed first.
    async fn send(&mut self, change: impl FnOnce(&mut v1::SendMessageRequest)) -> Option<Error> {
        let mut send = wire::send_of(self.talk, &wire::mint(), "hello");
        change(&mut send);
        self.session.ask(Up::Send(send)).await.err()
    }

    async fn stream(&self) -> Result<Raw, Failure> {
        Ok(Raw::open(raw::connect(&self.world.url()).await?, &self.token).await?)
    }
}

fn hello(device_id: &str) -> v1::Hello {
    v1::Hello {
        device_id: device_id.into(),
        ..Default::default()
    }
}

/// What is wrong with a single send.
pub async fn by_send(told: &mut Told) -> Result<(), Failure> {
    let mut stage = stage(|_| {}).await?;
    let now_ms = wire::now_ms();
    let old = wire::mint_at(now_ms - 8 * DAY_MS).to_bytes();
    let ahead = wire::mint_at(now_ms + 120_000).to_bytes();
    let media = v1::Message {
        content: Some(Content::Media(v1::Media::default())),
        ..text("")
    };
    let id = wire::mint();
    assert_eq!(
        stage
            .send(|send| send.client_message_id = id.to_bytes())
            .await,
        None
    );
    let reused = stage.send(|send| {
        (send.client_message_id, send.message) = (id.to_bytes(), Some(text("another body")));
    });
    told.push((Reason::IdReused, reused.await));
    told.push((
        Reason::InvalidField,
        stage.send(|send| send.message = Some(text(""))).await,
    ));
    told.push((
        Reason::NotFound,
        stage
            .send(|it| it.conversation_id = vec![9; 16].into())
            .await,
    ));
    told.push((
        Reason::OutboxExpired,
        stage.send(|send| send.client_message_id = old).await,
    ));
    let error = stage.send(|send| send.client_message_id = ahead).await;
    assert!(
        error
            .as_ref()
            .is_some_and(|error| error.server_time_ms.is_some()),
        "{error:?}"
    );
    told.push((Reason::IdAhead, error));
    let never_sent = wire::mint().to_bytes();
    let orphan = stage.send(|send| send.predecessor_id = never_sent).await;
    told.push((Reason::PredecessorFailed, orphan));
    told.push((
        Reason::Unimplemented,
        stage.send(|send| send.message = Some(media)).await,
    ));
    stage.world.stop().await;
    Ok(())
}

/// Who may not do what.
pub async fn by_person(told: &mut Told) -> Result<(), Failure> {
    let stage = stage(|config| config.gateway.limits.group_members_max = 3).await?;
    let names = |count: usize| (0..count).map(|number| format!("user-{number}")).collect();
    told.push((
        Reason::GroupFull,
        stage.client.create_group("too many", names(4)).await.err(),
    ));
    let group = id_of(
        &stage
            .client
            .create_group("fits", vec!["bob".into()])
            .await?,
    )?;
    let bob = stage.world.client("bob", "phone").await?;
    told.push((Reason::RoleRequired, bob.rename(group, "mine").await.err()));
    let mut nobody = Raw::open(raw::connect(&stage.world.url()).await?, "nonsense").await?;
    let refused = nobody.hello(hello("phone")).await.err().map(Error::from);
    told.push((Reason::TokenInvalid, refused));
    stage.client.revoke_device("phone").await?;
    let refused = stage
        .stream()
        .await?
        .hello(hello("phone"))
        .await
        .err()
        .map(Error::from);
    told.push((Reason::DeviceRevoked, refused));
    stage.world.stop().await;
    Ok(())
}

/// Sessions and places that are not there.
pub async fn by_place(told: &mut Told) -> Result<(), Failure> {
    let stage = stage(|config| config.gateway.hello_timeout_ms = 200).await?;
    let mut messaging = MessagingServiceClient::new(raw::connect(&stage.world.url()).await?);
    let ping = v1::PingRequest {
        session_id: "0-0".into(),
    };
    let gone = messaging.ping(raw::authorized(ping, &stage.token)).await;
    told.push((Reason::SessionGone, gone.err().map(Error::from)));
    let after = Some(v1::Cursor {
        position: 1_000_000,
        nonce: 7,
    });
    let lost = v1::ListEventsRequest {
        after,
        page_size: 0,
    };
    let lost = messaging
        .list_events(raw::authorized(lost, &stage.token))
        .await;
    told.push((Reason::PositionLost, lost.err().map(Error::from)));
    let mut early = stage.stream().await?;
    early.push(1, Up::Ping(v1::PingRequest::default())).await;
    told.push((Reason::OutOfOrder, early.ended().await.err()));
    told.push((Reason::Deadline, stage.stream().await?.ended().await.err()));
    stage.world.stop().await;
    Ok(())
}

/// Too much at once.
pub async fn by_load(told: &mut Told) -> Result<(), Failure> {
    let mut one = stage(|config| config.gateway.limits.in_flight_max = 1).await?;
    for request_id in 1_000..1_050 {
        let send = wire::send_of(one.talk, &wire::mint(), "in a hurry");
        one.session.push(request_id, Up::Send(send)).await;
    }
    let mut refused = None;
    for request_id in 1_000..1_050 {
        refused = refused.or(one.session.answer(request_id).await.err());
    }
    told.push((Reason::TooManyInFlight, refused));
    one.world.stop().await;

    let mut slow = stage(|config| {
        let rates = &mut config.gateway.rates;
        (rates.device_per_second, rates.device_burst) = (1, 8);
    })
    .await?;
    let mut refused = None;
    for _ in 0..20 {
        refused = refused.or(slow
            .session
            .ask(Up::Ping(v1::PingRequest::default()))
            .await
            .err());
    }
    told.push((Reason::RateLimited, refused));
    slow.world.stop().await;

    // Sends much and reads nothing: once its answers fill all windows, the session is ended, and
    // then nobody reads what it sends.
    let mut deaf = stage(|config| config.gateway.rates = unlimited()).await?;
    for request_id in 10_000..60_000 {
        let mark = Up::Mark(v1::MarkRequest::default());
        let pushing = deaf.session.push(request_id, mark);
        if timeout(Duration::from_secs(2), pushing).await.is_err() {
            break;
        }
    }
    told.push((Reason::Overloaded, deaf.session.ended().await.err()));
    deaf.world.stop().await;
    Ok(())
}

fn unlimited() -> heddle_gateway::limits::RateOptions {
    heddle_gateway::limits::RateOptions {
        user_per_second: 0,
        device_per_second: 0,
        ..Default::default()
    }
}

/// A disk that is too full, and a server that goes.
pub async fn by_circumstance(told: &mut Told) -> Result<(), Failure> {
    let full =
        World::start_with(|config| config.history.disk_free_bytes_min = u64::MAX / 2).await?;
    let token = full.signer.token("alice", json!({}));
    let mut stub = v1::conversation_service_client::ConversationServiceClient::new(
        raw::connect(&full.url()).await?,
    );
    let create = v1::CreateConversationRequest {
        client_message_id: wire::mint().to_bytes(),
        kind: v1::ConversationKind::Direct.into(),
        user_ids: vec!["bob".into()],
        ..Default::default()
    };
    let refused = stub
        .create_conversation(raw::authorized(create, &token))
        .await;
    told.push((Reason::StoreReadOnly, refused.err().map(Error::from)));
    full.stop().await;

    let mut stage = stage(|_| {}).await?;
    let mut late = stage.stream().await?;
    let away = async {
        let going = |came: &raw::Came| matches!(came.frame, Down::GoAway(_)).then_some(());
        stage.session.until("GoAway", going).await;
        late.hello(hello("tablet")).await.err().map(Error::from)
    };
    let (_, refused) = tokio::join!(stage.world.stop(), away);
    told.push((Reason::Draining, refused));
    Ok(())
}
