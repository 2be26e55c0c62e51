//! Halt: the call to end, for tasks that live long and wake often.
//!
//! A [`CancellationToken`] takes a lock each time somebody looks at it, and a task that selects on
//! one looks at each wake-up: with three tasks a session that is measurable. [`UntilHalt`]
//! registers with the token once, and after that looks at a flag. Used by [`crate::tasks`].
//!
//! Invariant: an [`UntilHalt`] ends at its next poll after [`Halt::call`], and is woken for it. It
//! is a struct, since an `async fn` around a future holds it twice.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A call to end that was or was not made yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Halt {
    called: Arc<AtomicBool>,
    token: CancellationToken,
}

pin_project_lite::pin_project! {
    /// Work that ends with nothing when the call comes.
    pub(crate) struct UntilHalt<F> {
        #[pin]
        work: F,
        called: Arc<AtomicBool>,
        #[pin]
        call: WaitForCancellationFutureOwned,
        listening: Option<Waker>,
    }
}

impl Halt {
    /// Ends all that waits, now and later.
    pub(crate) fn call(&self) {
        // Before the wake-ups, so that whoever is woken sees it.
        self.called.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// The same call as a token, for who looks rarely.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Runs `work` to its end; nothing if the call came before.
    pub(crate) fn or<F: Future>(&self, work: F) -> UntilHalt<F> {
        UntilHalt {
            work,
            called: self.called.clone(),
            call: self.token.clone().cancelled_owned(),
            listening: None,
        }
    }
}

impl<F: Future> Future for UntilHalt<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let known = |waker: &Waker| waker.will_wake(context.waker());
        if this.called.load(Ordering::Acquire) || !this.listening.as_ref().is_some_and(known) {
            if this.call.poll(context).is_ready() {
                return Poll::Ready(None);
            }
            *this.listening = Some(context.waker().clone());
        }
        Poll::Ready(Some(ready!(this.work.poll(context))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn work_that_ends_first_gives_its_output() {
        assert_eq!(Halt::default().or(async { 7 }).await, Some(7));
    }

    #[tokio::test]
    async fn a_call_made_before_wins() {
        let halt = Halt::default();
        halt.call();
        assert_eq!(halt.or(async { 7 }).await, None);
    }

    #[tokio::test]
    async fn who_was_polled_often_is_still_woken_by_the_call() {
        let halt = Halt::default();
        let (busy, mut work) = mpsc::channel::<()>(1);
        let (seen, mut polled) = mpsc::channel::<()>(1);
        let waiting = halt.clone();
        let task = tokio::spawn(async move {
            let forever = async {
                while work.recv().await.is_some() {
                    seen.send(()).await.unwrap();
                }
            };
            waiting.or(forever).await
        });
        for _ in 0..100 {
            busy.send(()).await.unwrap();
            polled.recv().await.unwrap();
        }
        halt.call();
        assert_eq!(task.await.unwrap(), None);
    }
}
