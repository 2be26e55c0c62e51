//! What a device has said and has no answer to, over its sessions: the application's outbox store.
//!
//! Beside [`super::actor`], which gives it to each session; it lives as long as the device, as a
//! phone's disk would.
//!
//! Invariant: what a session settled is never said again, read or not.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use heddle_sdk::{MessageId, OutboxStore, Outgoing, StoreFuture};

/// Sends of one device, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept(Arc<Mutex<Vec<Outgoing>>>);

impl Kept {
    /// Whether it is still to be answered.
    pub(super) fn has(&self, id: MessageId) -> bool {
        self.lock().iter().any(|one| one.client_message_id == id)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Outgoing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OutboxStore for Kept {
    fn load(&self) -> StoreFuture<Vec<Outgoing>> {
        done(self.lock().clone())
    }

    fn put(&self, outgoing: &Outgoing) -> StoreFuture<()> {
        self.lock().push(outgoing.clone());
        done(())
    }

    fn remove(&self, id: MessageId) -> StoreFuture<()> {
        self.lock().retain(|one| one.client_message_id != id);
        done(())
    }
}

fn done<T: Send + 'static>(value: T) -> StoreFuture<T> {
    Box::pin(std::future::ready(io::Result::Ok(value)))
}
