//! Job: a push in a lane, with where it stands. Pure.
//!
//! `lane` moves it, `queue` orders it, `sender` tries it. Invariant: it holds a preview only until
//! its first try or for [`PREVIEW_LIFE`], whichever ends first.

use std::sync::Arc;
use std::time::Duration;

use heddle_proto::internal::PushKind;
use heddle_proto::v1::{PushOutcome, PushResult};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::newest::Key;
use crate::provider::origin;
use crate::push::Push;
use crate::queue::Item;

/// A preview leaves within this time of its intent's arrival, or not at all: the message may be
/// erased meanwhile, and an erased text must not come out of a queue or another try.
pub const PREVIEW_LIFE: Duration = Duration::from_secs(2);

/// A push and where it stands.
pub struct Job {
    pub push: Push,
    /// Tries that were made.
    pub tries: u32,
    /// Those of them that count against the bound.
    pub failures: u32,
    key: Option<Key>,
    origin: Option<Arc<str>>,
    /// Freed when the push leaves the lane; `None` in tests alone.
    _place: Option<OwnedSemaphorePermit>,
}

impl Job {
    /// A push that was taken in at `now`.
    pub fn new(mut push: Push, now: Instant, place: Option<OwnedSemaphorePermit>) -> Self {
        push.leave_by = push.preview.is_some().then(|| now + PREVIEW_LIFE);
        Self {
            key: Key::of(&push),
            origin: origin(&push).map(Arc::from),
            push,
            tries: 0,
            failures: 0,
            _place: place,
        }
    }

    /// A try begins.
    pub fn begin(&mut self, now: Instant) {
        self.tries = self.tries.saturating_add(1);
        if self.tries > 1 || self.push.leave_by.is_some_and(|by| by <= now) {
            self.push.strip_preview();
        }
    }

    /// Leaves the lane: whoever hears of its end finds its place free.
    pub fn leave(self) -> Push {
        self.push
    }

    /// What it has come to at `provider`.
    pub fn result(&self, provider: &str, outcome: PushOutcome, detail: &str) -> PushResult {
        self.push.result(provider, outcome, detail, self.tries)
    }
}

impl Item for Job {
    fn key(&self) -> Option<Key> {
        self.key
    }

    fn position(&self) -> u64 {
        self.push.position
    }

    fn origin(&self) -> Option<&Arc<str>> {
        self.origin.as_ref()
    }

    fn perishes_at(&self) -> Option<Instant> {
        self.push.leave_by
    }

    fn perish(&mut self) {
        self.push.strip_preview();
    }

    /// An update is silent because a message was shown before it; where that never was, the update
    /// is what tells of the messages that still wait.
    fn replaces(&mut self, older: &Self) {
        if (self.push.kind, older.push.kind) == (PushKind::Update, PushKind::Message) {
            self.push.kind = PushKind::Message;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::tests::push;

    fn job(now: Instant) -> Job {
        let mut push = push(None);
        push.preview = Some("see you at eight".into());
        Job::new(push, now, None)
    }

    #[test]
    fn a_preview_leaves_with_the_first_try_within_its_life() {
        let now = Instant::now();
        let mut job = job(now);
        job.begin(now + PREVIEW_LIFE - Duration::from_millis(1));
        assert_eq!(job.push.preview.as_deref(), Some("see you at eight"));
        job.begin(now + PREVIEW_LIFE - Duration::from_millis(1));
        assert_eq!(job.push.preview, None, "not in another try");
    }

    #[test]
    fn a_preview_that_has_waited_for_its_life_does_not_leave() {
        let now = Instant::now();
        let mut job = job(now);
        job.begin(now + PREVIEW_LIFE);
        assert_eq!((&job.push.preview, job.push.leave_by), (&None, None));
    }

    #[test]
    fn an_update_of_what_was_never_shown_is_a_message() {
        let now = Instant::now();
        let kinds = |older, newer| {
            let (mut one, mut other) = (job(now), job(now));
            one.push.kind = older;
            other.push.kind = newer;
            other.replaces(&one);
            other.push.kind
        };
        use PushKind::{Clear, Message, Update};
        assert_eq!(kinds(Message, Update), Message);
        assert_eq!(kinds(Update, Update), Update);
        assert_eq!(kinds(Message, Clear), Clear);
        assert_eq!(kinds(Clear, Message), Message);
    }
}
