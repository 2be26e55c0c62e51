//! Tasks: whose work a spawned future is, and how that work ends.
//!
//! Every service owns one [`Tasks`], a child of the process's; `run` drains them in reverse order
//! of birth, so that what was started last, and leans on the others, stops first.
//!
//! Invariant: no task outlives `drain`. A task of a service that panics or fails ends the whole
//! process: a server that has lost an organ must not go on answering.

use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::halt::Halt;

/// How long an aborted task may take to be dropped; longer means that it blocks its thread.
const ABORT_WAIT: Duration = Duration::from_millis(500);

/// The tasks of one service, with the token that asks them to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    service: String,
    tracker: TaskTracker,
    stopping: Halt,
    aborting: Halt,
    children: Mutex<Vec<Tasks>>,
    process: Arc<Process>,
}

/// What all services of one process share: whether it must end, and why.
#[derive(Debug, Default)]
struct Process {
    ending: CancellationToken,
    failure: OnceLock<TaskFailure>,
}

/// The first task that died, which is why the process ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {task} of {service} {cause}")]
pub struct TaskFailure {
    /// The service whose task it was.
    pub service: String,
    /// The name given to `spawn`.
    pub task: &'static str,
    /// "panicked: ..." or "failed: ...".
    pub cause: String,
}

/// What a task of a service may return: nothing, or a result whose error ends the process.
pub trait TaskOutcome {
    /// The error, as text, if there is one.
    fn error(self) -> Option<String>;
}

impl TaskOutcome for () {
    fn error(self) -> Option<String> {
        None
    }
}

impl<E: Display> TaskOutcome for Result<(), E> {
    fn error(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

impl Tasks {
    /// The root of a process (or of a test).
    pub fn new(service: impl Into<String>) -> Self {
        Self::with(service.into(), Arc::default())
    }

    /// The tasks of one more service in the same process, drained before those started earlier.
    pub fn child(&self, service: impl Into<String>) -> Self {
        let child = Self::with(service.into(), self.0.process.clone());
        self.children().push(child.clone());
        child
    }

    fn with(service: String, process: Arc<Process>) -> Self {
        Self(Arc::new(Inner {
            service,
            tracker: TaskTracker::new(),
            stopping: Halt::default(),
            aborting: Halt::default(),
            children: Mutex::default(),
            process,
        }))
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Vec<Tasks>> {
        self.0
            .children
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Spawns a task that the service cannot live without: a panic or an error ends the process.
    pub fn spawn<F>(&self, task: &'static str, future: F)
    where
        F: Future + Send + 'static,
        F::Output: TaskOutcome + Send,
    {
        let tasks = self.clone();
        let guarded = AssertUnwindSafe(future).catch_unwind();
        self.0
            .tracker
            .spawn(self.0.aborting.or(guarded).map(move |ended| {
                let cause = match ended {
                    None => None,
                    Some(Ok(outcome)) => outcome.error().map(|error| format!("failed: {error}")),
                    Some(Err(panic)) => Some(format!("panicked: {}", panic_text(panic.as_ref()))),
                };
                if let Some(cause) = cause {
                    tasks.fail(task, cause);
                }
            }));
    }

    /// Spawns work for one peer or one request: a panic is logged and goes no further.
    pub fn spawn_contained<F>(&self, task: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let service = self.clone();
        let guarded = AssertUnwindSafe(future).catch_unwind();
        self.0
            .tracker
            .spawn(self.0.aborting.or(guarded).map(move |ended| {
                if let Some(Err(panic)) = ended {
                    let cause = panic_text(panic.as_ref());
                    tracing::error!(service = service.name(), task, cause, "task panicked");
                }
            }));
    }

    fn fail(&self, task: &'static str, cause: String) {
        let failure = TaskFailure {
            service: self.0.service.clone(),
            task,
            cause,
        };
        tracing::error!(%failure, "the process ends");
        let _first_wins = self.0.process.failure.set(failure);
        self.0.process.ending.cancel();
    }

    /// The service's name, as logs show it.
    pub fn name(&self) -> &str {
        &self.0.service
    }

    /// Cancelled when this service drains: finish what is in hand and return.
    pub fn stopping(&self) -> &CancellationToken {
        self.0.stopping.token()
    }

    /// Runs `work` until this service drains: then nothing. For work that wakes often; costs less
    /// than selecting on [`Tasks::stopping`].
    pub fn until_stopping<F: Future>(
        &self,
        work: F,
    ) -> impl Future<Output = Option<F::Output>> + use<F> {
        self.0.stopping.or(work)
    }

    /// Cancelled when the process must end: a task died, or [`Tasks::end_process`] was called.
    pub fn process_ending(&self) -> &CancellationToken {
        &self.0.process.ending
    }

    /// Asks the process to drain and end, as a signal would.
    pub fn end_process(&self) {
        self.0.process.ending.cancel();
    }

    /// The task whose death ended the process, if one did.
    pub fn failure(&self) -> Option<TaskFailure> {
        self.0.process.failure.get().cloned()
    }

    /// How many tasks are alive, without those of children.
    pub fn len(&self) -> usize {
        self.0.tracker.len()
    }

    /// Whether no task is alive, children not counted.
    pub fn is_empty(&self) -> bool {
        self.0.tracker.is_empty()
    }

    /// Stops the children, last born first, then this service; what is left after `grace` is
    /// aborted. Returns how many tasks had to be.
    ///
    /// A child may use at most half of what is left of the grace, so that a stuck one leaves the
    /// services it leans on some time to finish.
    pub fn drain(&self, grace: Duration) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
        Box::pin(async move {
            let deadline = Instant::now() + grace;
            let mut aborted = 0;
            let children = std::mem::take(&mut *self.children());
            for child in children.into_iter().rev() {
                let left = deadline.saturating_duration_since(Instant::now());
                aborted += child.drain(left / 2).await;
            }
            aborted + self.stop(deadline).await
        })
    }

    async fn stop(&self, deadline: Instant) -> usize {
        self.0.stopping.call();
        self.0.tracker.close();
        if timeout_at(deadline, self.0.tracker.wait()).await.is_ok() {
            return 0;
        }
        let late = self.0.tracker.len();
        tracing::warn!(service = self.name(), late, "grace is over, aborting tasks");
        self.0.aborting.call();
        if timeout(ABORT_WAIT, self.0.tracker.wait()).await.is_err() {
            tracing::error!(service = self.name(), "a task blocks its thread and stays");
        }
        late
    }
}

/// What a panic said, if it said it in words.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;
