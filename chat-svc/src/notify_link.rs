//! The link to notify-svc: intents of all shards up, outcomes down to the shard that asked.
//!
//! Invariant: when the stream ends, every shard hears of it and sends again what was not settled;
//! the log hears once of an outage and of its end ([`Told`]).

use crate::{
    shard::input::StoreInput,
    store_link::{RETRY_DELAY_MS, shard_of},
};
use heddle_kit::{
    AnyOf, Link, Tasks,
    link::{Opened, OutboxOptions, Told, outbox},
};
use heddle_proto::internal::{NotifyRequest, notify_service_client::NotifyServiceClient};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// Keeps the link up until the service stops.
pub async fn run(notify: AnyOf, shards: Vec<mpsc::Sender<StoreInput>>, tasks: Tasks) {
    let mut told = Told::new("notify");
    loop {
        let connection = |opened| serve_once(notify.current(), &shards, opened);
        tokio::select! {
            () = tasks.stopping().cancelled() => return,
            () = told.through(connection) => {}
        }
        notify.failed();
        for shard in &shards {
            let _ = shard.send(StoreInput::Notify(None)).await;
        }
        tokio::select! {
            () = tasks.stopping().cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(RETRY_DELAY_MS)) => {}
        }
    }
}

async fn serve_once(
    link: Link,
    shards: &[mpsc::Sender<StoreInput>],
    opened: Opened,
) -> Result<(), Status> {
    let (intents, frames) = outbox(OutboxOptions::default(), |intents| NotifyRequest {
        intents,
    });
    let mut outcomes = NotifyServiceClient::new(link)
        .notify(frames)
        .await?
        .into_inner();
    opened.tell();
    for shard in shards {
        let _ = shard.send(StoreInput::Notify(Some(intents.clone()))).await;
    }
    while let Some(frame) = outcomes.message().await? {
        for outcome in frame.outcomes {
            if let Some(shard) = shards.get(shard_of(outcome.id)) {
                let _ = shard.send(StoreInput::Push(outcome)).await;
            }
        }
    }
    Err(Status::unavailable("the stream ended"))
}
