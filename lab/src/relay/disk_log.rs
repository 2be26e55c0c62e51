//! The durable relay's disk: append, one fdatasync for all that waits, then acknowledge.
//!
//! A thread of its own, since a sync blocks; fed by sessions through a bounded queue.
//!
//! Invariant: nothing is acknowledged or delivered before the sync that covers it has returned.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::Status;

use super::hub::{Participant, Room};
use super::wire::open_session_response::Kind;

/// Messages that wait for the disk, at most; a session that finds the queue full is ended.
pub const WAITING_MAX: usize = 65_536;
/// Messages under one sync, at most.
const BATCH_MAX: usize = 8192;

/// A message to be stored and then relayed.
#[derive(Debug)]
pub struct Pending {
    /// The sender's number for it.
    pub id: u64,
    /// What it is.
    pub body: Bytes,
    /// Who gets the acknowledgement.
    pub sender: Participant,
    /// Who gets the message.
    pub room: Arc<Room>,
}

/// Starts the thread; it ends when the last sender of the queue is gone.
pub fn start(dir: &Path) -> io::Result<(mpsc::Sender<Pending>, JoinHandle<()>)> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("relay.log"))?;
    let (queue, waiting) = mpsc::channel(WAITING_MAX);
    let thread = std::thread::Builder::new().name("relay-log".into());
    Ok((queue, thread.spawn(move || run(file, waiting))?))
}

fn run(mut file: File, mut waiting: mpsc::Receiver<Pending>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut bytes = Vec::new();
    while waiting.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        bytes.clear();
        batch.iter().for_each(|pending| encode(pending, &mut bytes));
        match file.write_all(&bytes).and_then(|()| file.sync_data()) {
            Ok(()) => {
                for pending in batch.drain(..) {
                    pending.sender.put(Kind::Stored(pending.id));
                    pending.room.relay(&pending.sender, &pending.body);
                }
            }
            Err(cause) => {
                tracing::error!(%cause, "the relay's log can't be written");
                for pending in batch.drain(..) {
                    pending
                        .sender
                        .fail(Status::unavailable("the relay's log can't be written"));
                }
            }
        }
    }
}

fn encode(pending: &Pending, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(pending.body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&pending.body).to_le_bytes());
    bytes.extend_from_slice(&pending.id.to_le_bytes());
    bytes.extend_from_slice(&pending.body);
}
