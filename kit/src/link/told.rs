//! Told: what the log says of a link that a service keeps open, each thing once.
//!
//! Who keeps the link runs its connections, one after another, through [`Told::through`]. A
//! connection says by [`Opened`] that the peer has taken its stream.
//!
//! Invariant: a peer that is away costs one warning, however often it is tried; a link is called up
//! only when its stream has stayed open, so that one that breaks at once is no news either.

use std::future::{Future, pending};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;
use tonic::Status;

/// A stream that has been open for so long counts as good.
const GOOD_AFTER: Duration = Duration::from_secs(1);

/// Says that the peer has taken a link's stream.
#[derive(Debug)]
pub struct Opened(oneshot::Sender<()>);

impl Opened {
    /// It has.
    pub fn tell(self) {
        let _nobody_listens = self.0.send(());
    }
}

/// What the log has said of one link.
#[derive(Debug)]
pub struct Told {
    link: &'static str,
    good_after: Duration,
    last: Last,
}

/// The last word, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Last {
    /// It is up, or nothing was said yet.
    Up,
    /// The other side closed it.
    Closed,
    /// It was lost, or could not be made.
    Lost,
}

impl Told {
    /// Nothing yet, of the link of that name.
    pub fn new(link: &'static str) -> Self {
        Self {
            link,
            good_after: GOOD_AFTER,
            last: Last::Up,
        }
    }

    /// Runs one connection to its end, and logs what is new: that the link is up, and that it is
    /// not. May be dropped at any time.
    pub async fn through<C>(&mut self, connection: impl FnOnce(Opened) -> C)
    where
        C: Future<Output = Result<(), Status>>,
    {
        let (opened, open) = oneshot::channel();
        let ended = tokio::select! {
            biased;
            ended = connection(Opened(opened)) => ended,
            ended = self.good(open) => ended,
        };
        self.ended(&ended);
    }

    /// Says that the link is up once it has been for long enough; never ends.
    async fn good(&mut self, open: oneshot::Receiver<()>) -> Result<(), Status> {
        if open.await.is_ok() {
            sleep(self.good_after).await;
            tracing::info!(link = self.link, "the link is up");
            self.last = Last::Up;
        }
        pending().await
    }

    fn ended(&mut self, ended: &Result<(), Status>) {
        let link = self.link;
        let is_news = self.is_news(ended);
        match ended {
            Ok(()) if is_news => tracing::info!(link, "the other side closed the link"),
            Err(status) if is_news => {
                let (code, text) = (status.code(), status.message());
                tracing::warn!(link, ?code, text, "no link; trying until there is one");
            }
            _ => tracing::debug!(link, ?ended, "no link yet"),
        }
    }

    /// Whether the end of a connection is worse than the last word.
    fn is_news(&mut self, ended: &Result<(), Status>) -> bool {
        let now = match ended {
            Ok(()) => Last::Closed,
            Err(_) => Last::Lost,
        };
        let is_news = now > self.last;
        self.last = self.last.max(now);
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SOON;
    use tokio::time::timeout;

    fn lost() -> Result<(), Status> {
        Err(Status::unavailable("nobody there"))
    }

    #[test]
    fn an_outage_is_told_once() {
        let mut told = Told::new("test");
        let news = [lost(), lost(), Ok(())].map(|ended| told.is_news(&ended));
        assert_eq!(news, [true, false, false]);
        told.last = Last::Up;
        let news = [Ok(()), Ok(()), lost(), lost()].map(|ended| told.is_news(&ended));
        assert_eq!(news, [true, false, true, false]);
    }

    #[tokio::test]
    async fn a_stream_that_stays_open_ends_an_outage() {
        let mut told = Told::new("test");
        told.through(|_opened| async { lost() }).await;
        told.good_after = Duration::from_millis(1);
        let waiting = async {
            while told.last != Last::Up {
                let stays = |opened: Opened| async move {
                    opened.tell();
                    pending::<Result<(), Status>>().await
                };
                let cut = timeout(Duration::from_millis(20), told.through(stays)).await;
                assert!(cut.is_err());
            }
        };
        timeout(SOON, waiting).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_breaks_at_once_or_never_opens_does_not() {
        let mut told = Told::new("test");
        told.through(|_opened| async { lost() }).await;
        let breaks = |opened: Opened| async move {
            opened.tell();
            lost()
        };
        told.through(breaks).await;
        assert_eq!(told.last, Last::Lost);
        told.good_after = Duration::ZERO;
        let never_opens = |opened: Opened| async move {
            drop(opened);
            pending::<Result<(), Status>>().await
        };
        let cut = timeout(Duration::from_millis(20), told.through(never_opens)).await;
        assert!(cut.is_err());
        assert_eq!(told.last, Last::Lost);
    }
}
