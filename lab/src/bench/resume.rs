//! How long a device takes that comes back after many events, to a server that has just started.
//!
//! Invariant: the time counts from dialling to `caught_up`, and every missed event came in between.

use std::time::Instant;

use heddle_sdk::{Client, ConversationId, Session, Update, WhenFull, text};
use serde::Serialize;

use super::BenchError;
use crate::target::conversation::{self, brings_message};
use crate::target::{HeddleServer, Target, TargetError};

/// Updates taken at a time.
const BATCH_MAX: usize = 256;

/// How a device came back.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ResumeReport {
    /// Events that it had missed.
    pub events: u32,
    /// Whether the server was started again before.
    pub restarted: bool,
    /// From dialling to having all, in milliseconds.
    pub ms: f64,
}

/// Has a device miss `events` messages, restarts the server if it is ours, and lets it come back.
pub async fn run(
    target: &Target,
    server: Option<&mut HeddleServer>,
    events: u32,
) -> Result<ResumeReport, BenchError> {
    let run: u32 = rand::random();
    let (reader, writer) = (format!("reader-{run:08x}"), format!("writer-{run:08x}"));
    let reader_client = target.client(&reader, "phone")?;
    let made = reader_client.create_direct(&writer).await;
    let made = made.map_err(TargetError::refused("the conversation could not be made"))?;
    let room = conversation::id_of(&made)?;
    let mut session = open(&reader_client, None).await?;
    send(target, &writer, room, 1).await?;
    // The event of making the conversation comes before the first message.
    while !brings_message(&next(&mut session).await?) {}
    // Asking for the next says that this one is handled; nothing more is due.
    let _ = tokio::time::timeout(std::time::Duration::from_millis(200), session.next()).await;
    let cursor = session.cursor();
    session.close().await;
    send(target, &writer, room, events).await?;
    let restarted = server.is_some();
    if let Some(server) = server {
        server.kill();
        server.restart().await?;
    }
    // A client of its own, so that no connection from before is in the way.
    let client = target.client(&reader, "phone")?;
    let started = Instant::now();
    let mut session = open(&client, cursor).await?;
    let missed = catch_up(&mut session).await?;
    let ms = started.elapsed().as_secs_f64() * 1000.0;
    session.close().await;
    if missed != events {
        return Err(BenchError::Session(format!(
            "{missed} events came, {events} were missed"
        )));
    }
    Ok(ResumeReport {
        events,
        restarted,
        ms,
    })
}

async fn catch_up(session: &mut Session) -> Result<u32, BenchError> {
    let mut missed = 0;
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while session.next_batch(&mut batch, BATCH_MAX).await > 0 {
        for update in batch.drain(..) {
            match update {
                Update::Event(_) => missed += 1,
                Update::CaughtUp(_) => return Ok(missed),
                Update::Reset { .. } => {
                    return Err(BenchError::Session("the device was reset".into()));
                }
                _ => {}
            }
        }
    }
    Err(BenchError::Session("the session ended".into()))
}

async fn open(
    client: &Client,
    cursor: Option<heddle_sdk::v1::Cursor>,
) -> Result<Session, BenchError> {
    let session = client.session().resume(cursor).open().await;
    let session = session.map_err(TargetError::refused("a session could not be opened"))?;
    let connected = session.connected().await;
    connected.map_err(TargetError::refused("a session could not be opened"))?;
    Ok(session)
}

async fn next(session: &mut Session) -> Result<Update, BenchError> {
    let update = session.next().await;
    update.ok_or_else(|| BenchError::Session("the session ended".into()))
}

async fn send(
    target: &Target,
    user: &str,
    room: ConversationId,
    count: u32,
) -> Result<(), BenchError> {
    let client = target.client(user, "bench")?;
    let mut session = open(&client, None).await?;
    let handle = session.handle();
    let reading = tokio::spawn(async move { while session.next().await.is_some() {} });
    let refused = || TargetError::refused("a message could not be sent");
    for index in 0..count {
        let outgoing = handle.outgoing(room, text(format!("message {index:>90}")));
        handle
            .enqueue(outgoing, WhenFull::Wait)
            .await
            .map_err(refused())?;
    }
    handle.flush().await.map_err(refused())?;
    reading.abort();
    Ok(())
}
