//! Outbox: the writer's end of a multiplexed link stream.
//!
//! Many tasks put items in; one stream, polled by the transport, takes what waits and packs it
//! into a frame. There is no timer: a frame holds what has come while the last one was written.
//!
//! Invariant: putting in never waits; memory is bounded in items and bytes; items leave in the
//! order in which they came, and each put wakes the writer at most once, however many items.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

/// The most items in one frame.
pub const LINK_ITEMS_MAX: usize = 512;
/// The most bytes of items in one frame; a larger item travels alone.
pub const LINK_FRAME_BYTES_MAX: usize = 64 * 1024;
/// Items that may wait in one outbox, by default.
pub const OUTBOX_ITEMS_MAX: usize = 8 * 1024;
/// Bytes of items that may wait in one outbox, by default.
pub const OUTBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

crate::config! {
    /// How much may wait for one link to be written; what comes on top is refused to its sender.
    pub struct OutboxOptions {
        /// Items that may wait.
        pub items_max: usize = OUTBOX_ITEMS_MAX,
        /// Bytes of items that may wait; an item is always taken by an empty outbox.
        pub bytes_max: usize = OUTBOX_BYTES_MAX,
    }
}

/// Why an item was not taken; the item comes back.
#[derive(Debug, thiserror::Error)]
pub enum TrySendError<T> {
    /// Too much waits. Answer RESOURCE_EXHAUSTED, or mark the receiver as behind.
    #[error("the link's outbox is full")]
    Full(T),
    /// The stream has ended.
    #[error("the link is closed")]
    Closed(T),
}

impl<T> TrySendError<T> {
    /// The item that was not taken.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(item) | Self::Closed(item) => item,
        }
    }
}

/// Where items are put in. Clones feed the same stream; when the last is gone the stream ends.
pub struct Outbox<T>(Arc<Shared<T>>);

/// The stream of frames. Dropping it closes the outbox.
pub struct Frames<T, B> {
    shared: Arc<Shared<T>>,
    build: B,
}

struct Shared<T> {
    queue: Mutex<Queue<T>>,
    writer: AtomicWaker,
    /// Wakes those who wait for room.
    taken: Notify,
    options: OutboxOptions,
    size_of: fn(&T) -> usize,
}

struct Queue<T> {
    waiting: VecDeque<(T, usize)>,
    waiting_bytes: usize,
    outboxes: usize,
    closed: bool,
}

/// An outbox of protobuf messages, and the stream of frames that `build` makes of them.
pub fn outbox<T, F, B>(options: OutboxOptions, build: B) -> (Outbox<T>, Frames<T, B>)
where
    T: prost::Message,
    B: FnMut(Vec<T>) -> F,
{
    outbox_sized(options, T::encoded_len, build)
}

/// The same for items of any kind, measured by `size_of` (bytes).
pub fn outbox_sized<T, F, B>(
    options: OutboxOptions,
    size_of: fn(&T) -> usize,
    build: B,
) -> (Outbox<T>, Frames<T, B>)
where
    B: FnMut(Vec<T>) -> F,
{
    let queue = Queue {
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        outboxes: 1,
        closed: false,
    };
    let shared = Shared {
        queue: Mutex::new(queue),
        writer: AtomicWaker::new(),
        taken: Notify::new(),
        options,
        size_of,
    };
    let shared = Arc::new(shared);
    (Outbox(shared.clone()), Frames { shared, build })
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Queue<T> {
    fn put(
        &mut self,
        item: T,
        size: usize,
        options: &OutboxOptions,
    ) -> Result<(), TrySendError<T>> {
        if self.closed {
            return Err(TrySendError::Closed(item));
        }
        let fits = self.waiting.len() < options.items_max
            && self.waiting_bytes.saturating_add(size) <= options.bytes_max;
        if !fits && !self.waiting.is_empty() {
            return Err(TrySendError::Full(item));
        }
        self.waiting_bytes += size;
        self.waiting.push_back((item, size));
        Ok(())
    }

    /// What fits into one frame, oldest first.
    fn take_frame(&mut self) -> Vec<T> {
        let mut bytes = 0;
        let fitting = self
            .waiting
            .iter()
            .take(LINK_ITEMS_MAX)
            .take_while(|(_, size)| {
                let first = bytes == 0;
                bytes += size;
                first || bytes <= LINK_FRAME_BYTES_MAX
            });
        let count = fitting.count();
        let mut taken_bytes = 0;
        let items = self.waiting.drain(..count).map(|(item, size)| {
            taken_bytes += size;
            item
        });
        let items = items.collect();
        self.waiting_bytes -= taken_bytes;
        items
    }
}

impl<T> Outbox<T> {
    /// Puts one item in, or gives it back. Never waits.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let size = (self.0.size_of)(&item);
        let mut queue = self.0.lock();
        // Only an empty queue can have a sleeping writer: one that left something behind has
        // just yielded a frame and will be polled again.
        let sleeping = queue.waiting.is_empty();
        let outcome = queue.put(item, size, &self.0.options);
        drop(queue);
        if sleeping && outcome.is_ok() {
            self.0.writer.wake();
        }
        outcome
    }

    /// Puts in an item whose number is bounded elsewhere, such as an answer to a request under
    /// way: it is taken even over the bounds, since nobody could give it back. Dropped if the
    /// stream has ended.
    pub fn send_permitted(&self, item: T) {
        let size = (self.0.size_of)(&item);
        let mut queue = self.0.lock();
        if queue.closed {
            return;
        }
        let sleeping = queue.waiting.is_empty();
        queue.waiting_bytes += size;
        queue.waiting.push_back((item, size));
        drop(queue);
        if sleeping {
            self.0.writer.wake();
        }
    }

    /// Puts many items in with one wake-up. Returns those that were not taken, in order: once
    /// one is refused, all after it are. The iterator runs under the lock: give it ready items.
    pub fn try_send_all(&self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut items = items.into_iter();
        let mut refused = Vec::new();
        let mut queue = self.0.lock();
        let sleeping = queue.waiting.is_empty();
        for item in items.by_ref() {
            let size = (self.0.size_of)(&item);
            if let Err(error) = queue.put(item, size, &self.0.options) {
                refused.push(error.into_inner());
                break;
            }
        }
        let wake = sleeping && !queue.waiting.is_empty();
        drop(queue);
        if wake {
            self.0.writer.wake();
        }
        refused.extend(items);
        refused
    }

    /// Waits until less than half of the bytes that may wait do, or until the stream has ended: for
    /// whoever can begin later what it would put in.
    pub async fn room(&self) {
        loop {
            let taken = self.0.taken.notified();
            if !self.is_half_full() {
                return;
            }
            taken.await;
        }
    }

    fn is_half_full(&self) -> bool {
        let queue = self.0.lock();
        !queue.closed && queue.waiting_bytes >= self.0.options.bytes_max.div_ceil(2)
    }

    /// Takes no more items; the stream ends after what waits.
    pub fn close(&self) {
        self.0.lock().closed = true;
        self.0.writer.wake();
        self.0.taken.notify_waiters();
    }

    /// Whether the stream has ended or will.
    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.0.lock().waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        self.0.lock().outboxes += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Outbox<T> {
    fn drop(&mut self) {
        let mut queue = self.0.lock();
        queue.outboxes -= 1;
        if queue.outboxes == 0 {
            queue.closed = true;
            drop(queue);
            self.0.writer.wake();
        }
    }
}

impl<T, F, B: FnMut(Vec<T>) -> F + Unpin> Stream for Frames<T, B> {
    type Item = F;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<F>> {
        self.shared.writer.register(context.waker());
        let mut queue = self.shared.lock();
        if queue.waiting.is_empty() {
            return if queue.closed {
                Poll::Ready(None)
            } else {
                Poll::Pending
            };
        }
        let items = queue.take_frame();
        drop(queue);
        self.shared.taken.notify_waiters();
        Poll::Ready(Some((self.build)(items)))
    }
}

impl<T, B> Drop for Frames<T, B> {
    fn drop(&mut self) {
        let mut queue = self.shared.lock();
        queue.closed = true;
        let waiting = std::mem::take(&mut queue.waiting);
        queue.waiting_bytes = 0;
        drop(queue);
        drop(waiting);
        self.shared.taken.notify_waiters();
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
