//! Where sends outlive the process: a restarted client loses and doubles nothing.
//!
//! A session's handle puts a send here before it queues it; the engine removes it once it is
//! settled. The default keeps nothing beyond the process; [`FileOutbox`] is for one device of a
//! person.
//!
//! Law of [`OutboxStore`]: `load` gives what was put and not removed, in the order of putting; a
//! `put` that has answered survives the death of the process. Removing twice, or what is not there,
//! is no error.

use super::Outgoing;
use heddle_proto::ids::{LogId, MessageId};
use heddle_proto::v1;
use prost::Message as _;
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

/// What a store's calls answer with, in time.
pub type StoreFuture<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// Keeps unanswered sends.
pub trait OutboxStore: Send + Sync + 'static {
    /// All that was put and not removed, oldest first.
    fn load(&self) -> StoreFuture<Vec<Outgoing>>;
    /// Keeps one.
    fn put(&self, outgoing: &Outgoing) -> StoreFuture<()>;
    /// Forgets one.
    fn remove(&self, id: MessageId) -> StoreFuture<()>;
}

/// One file of records, appended to; rewritten when nothing is left in it.
///
/// A record is a length (4 bytes, big-endian) and a `SendMessageRequest`; one without a message
/// says that the id is removed. A cut tail, as a crash leaves it, is ignored.
#[derive(Debug, Clone)]
pub struct FileOutbox {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    path: PathBuf,
    pending: Vec<Outgoing>,
}

impl FileOutbox {
    /// Opens the file, or makes it. Blocks: call it before the work starts.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let pending = replay(&bytes);
        let mut state = State { path, pending };
        state.rewrite()?;
        let state = Arc::new(Mutex::new(state));
        Ok(Self { state })
    }

    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> io::Result<T> + Send + 'static,
    ) -> StoreFuture<T> {
        let state = self.state.clone();
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || {
                work(&mut state.lock().unwrap_or_else(PoisonError::into_inner))
            });
            done.await.map_err(io::Error::other)?
        })
    }
}

impl OutboxStore for FileOutbox {
    fn load(&self) -> StoreFuture<Vec<Outgoing>> {
        self.blocking(|state| Ok(state.pending.clone()))
    }

    fn put(&self, outgoing: &Outgoing) -> StoreFuture<()> {
        let outgoing = outgoing.clone();
        self.blocking(move |state| {
            state.append(&record(&outgoing))?;
            state.pending.push(outgoing);
            Ok(())
        })
    }

    fn remove(&self, id: MessageId) -> StoreFuture<()> {
        self.blocking(move |state| {
            let before = state.pending.len();
            state.pending.retain(|one| one.client_message_id != id);
            match (before, state.pending.len()) {
                (before, after) if before == after => Ok(()),
                (_, 0) => state.rewrite(),
                _ => state.append(&removal(id)),
            }
        })
    }
}

impl State {
    fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.create(true).append(true).open(&self.path)?;
        file.write_all(record)?;
        file.sync_data()
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let mut file = std::fs::File::create(&fresh)?;
        for outgoing in &self.pending {
            file.write_all(&record(outgoing))?;
        }
        file.sync_data()?;
        std::fs::rename(fresh, &self.path)
    }
}

fn framed(request: &v1::SendMessageRequest) -> Vec<u8> {
    let body = request.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &body].concat()
}

fn record(outgoing: &Outgoing) -> Vec<u8> {
    framed(&v1::SendMessageRequest {
        conversation_id: outgoing.conversation_id.to_bytes(),
        client_message_id: outgoing.client_message_id.to_bytes(),
        message: Some(outgoing.message.clone()),
        ..Default::default()
    })
}

fn removal(id: MessageId) -> Vec<u8> {
    framed(&v1::SendMessageRequest {
        client_message_id: id.to_bytes(),
        ..Default::default()
    })
}

fn replay(mut bytes: &[u8]) -> Vec<Outgoing> {
    let mut pending: Vec<Outgoing> = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((body, rest)) = rest.split_at_checked(length) else {
            break;
        };
        bytes = rest;
        let Ok(request) = v1::SendMessageRequest::decode(body) else {
            break;
        };
        let Some(id) = MessageId::from_wire(&request.client_message_id) else {
            break;
        };
        match (request.message, LogId::from_wire(&request.conversation_id)) {
            (Some(message), Some(conversation_id)) => pending.push(Outgoing {
                conversation_id,
                client_message_id: id,
                message,
            }),
            _ => pending.retain(|one| one.client_message_id != id),
        }
    }
    pending
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(n: u8) -> Outgoing {
        Outgoing {
            conversation_id: LogId::from_wire(&[n; 16]).unwrap(),
            client_message_id: MessageId::mint(u64::from(n), &[n; 10]),
            message: v1::Message::default(),
        }
    }

    #[tokio::test]
    async fn what_was_not_removed_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox");
        let store = FileOutbox::open(&path).unwrap();
        for n in 1..=3 {
            store.put(&outgoing(n)).await.unwrap();
        }
        store.remove(outgoing(2).client_message_id).await.unwrap();
        let again = FileOutbox::open(&path).unwrap();
        assert_eq!(again.load().await.unwrap(), [outgoing(1), outgoing(3)]);
    }

    #[tokio::test]
    async fn a_cut_tail_hides_nothing_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox");
        let store = FileOutbox::open(&path).unwrap();
        store.put(&outgoing(1)).await.unwrap();
        store.put(&outgoing(2)).await.unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let again = FileOutbox::open(&path).unwrap();
        assert_eq!(again.load().await.unwrap(), [outgoing(1)]);
    }

    #[tokio::test]
    async fn an_empty_outbox_is_an_empty_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox");
        let store = FileOutbox::open(&path).unwrap();
        store.put(&outgoing(1)).await.unwrap();
        store.remove(outgoing(1).client_message_id).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
