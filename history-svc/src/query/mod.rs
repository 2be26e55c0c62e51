//! Queries: what shards and gateways ask, composed of the store's few reads.
//!
//! Each query is a plan without I/O: it names the store reads it needs, is given their results, and
//! names more or answers. [`run`] takes all plans of a frame forward together where the store is
//! the better for it, so that a frame costs as many trips as its longest plan has steps, not as
//! many as it has items; elsewhere each goes by itself, and a short one does not wait for a
//! take-over.
//!
//! Invariant: a plan ends. Each step either answers or moves on in a range that is bounded by the
//! query.

mod limits;
mod mailbox;
mod overlay;
mod partition;
mod range;
mod tail;
#[cfg(test)]
mod tests;
mod time;

use std::sync::LazyLock;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use heddle_kit::telemetry::{Tallies, Tally};
use heddle_proto::ids::LogId;
use heddle_proto::internal::{Read, ReadOutcome, read::Query};

use crate::data_loss::TOLD;
use crate::store::{EventStore, ReadError, ReadResult, StoreAnswer, StoreRead};

/// What a plan wants next.
#[derive(Debug)]
enum Step {
    /// These reads, whose results it gets in the same order.
    Read(Vec<StoreRead>),
    /// Nothing: this is the answer (its id is set by [`run`]).
    Done(ReadOutcome),
}

/// One query under way.
trait Plan: Send {
    /// Goes on with the results of what was asked for last; nothing at first.
    fn step(&mut self, results: Vec<StoreAnswer>) -> Result<Step, ReadError>;
}

struct Running {
    id: u64,
    plan: Box<dyn Plan>,
    wants: Vec<StoreRead>,
    wanted: usize,
}

/// Answers the reads of one frame; each answer is handed over as soon as it is complete.
pub async fn run(store: &dyn EventStore, reads: Vec<Read>, mut answered: impl FnMut(ReadOutcome)) {
    let mut running = Vec::with_capacity(reads.len());
    for read in reads {
        let id = read.id;
        let begun = plan(read).and_then(|mut plan| Ok((plan.step(Vec::new())?, plan)));
        match begun {
            Ok((Step::Read(wants), plan)) => running.push(Running {
                id,
                plan,
                wants,
                wanted: 0,
            }),
            Ok((Step::Done(outcome), _)) => answered(ReadOutcome { id, ..outcome }),
            Err(error) => answered(failure(id, &error)),
        }
    }
    if !store.reads_together() {
        let mut alone: FuturesUnordered<_> =
            running.into_iter().map(|it| it.alone(store)).collect();
        while let Some(outcome) = alone.next().await {
            answered(outcome);
        }
        return;
    }
    while !running.is_empty() {
        let mut wanted = Vec::new();
        for running in &mut running {
            running.wanted = running.wants.len();
            wanted.append(&mut running.wants);
        }
        let mut results = store.read(wanted).await.into_iter();
        running.retain_mut(|running| {
            let results = results.by_ref().take(running.wanted).collect();
            running.advance(results).map(&mut answered).is_none()
        });
    }
}

impl Running {
    async fn alone(mut self, store: &dyn EventStore) -> ReadOutcome {
        loop {
            let results = store.read(std::mem::take(&mut self.wants)).await;
            if let Some(outcome) = self.advance(results) {
                return outcome;
            }
        }
    }

    /// One step; the outcome if it was the last.
    fn advance(&mut self, results: Vec<ReadResult>) -> Option<ReadOutcome> {
        let results: Result<Vec<StoreAnswer>, ReadError> = results.into_iter().collect();
        match results.and_then(|results| self.plan.step(results)) {
            Ok(Step::Read(wants)) => {
                self.wants = wants;
                None
            }
            Ok(Step::Done(outcome)) => Some(ReadOutcome {
                id: self.id,
                ..outcome
            }),
            Err(error) => Some(failure(self.id, &error)),
        }
    }
}

/// How often each kind of query was asked, as `docs/telemetry.md` names them; of the process, like
/// all metrics.
struct Asked {
    tail: Tally,
    range: Tally,
    partition: Tally,
    mailbox: Tally,
    time: Tally,
}

static ASKED: LazyLock<Asked> = LazyLock::new(|| {
    let mut kinds = Tallies::<1>::default();
    let mut of = |kind| kinds.of([("kind", kind)]);
    let asked = Asked {
        tail: of("tail"),
        range: of("range"),
        partition: of("partition"),
        mailbox: of("mailbox"),
        time: of("time"),
    };
    kinds.observe("heddle.history.queries", "What is asked to be read");
    asked
});

impl Asked {
    fn of(&self, query: &Query) -> &Tally {
        match query {
            Query::Tail(_) => &self.tail,
            Query::Range(_) => &self.range,
            Query::Partition(_) => &self.partition,
            Query::Mailbox(_) => &self.mailbox,
            Query::Time(_) => &self.time,
        }
    }
}

fn plan(read: Read) -> Result<Box<dyn Plan>, ReadError> {
    if let Some(query) = &read.query {
        ASKED.of(query).add(1);
    }
    Ok(match read.query {
        Some(Query::Tail(query)) => Box::new(tail::Tail::new(query)?),
        Some(Query::Range(query)) => Box::new(range::Range::new(query)?),
        Some(Query::Partition(query)) => Box::new(partition::Partition::new(query)?),
        Some(Query::Mailbox(query)) => Box::new(mailbox::Mailbox::new(query)?),
        Some(Query::Time(query)) => Box::new(time::Time::new(query)?),
        None => {
            return Err(invalid(
                "query",
                "none is set; a newer caller? upgrade this service",
            ));
        }
    })
}

/// The outcome of a read that failed, for the answer itself: data loss is counted here.
pub fn failure(id: u64, error: &ReadError) -> ReadOutcome {
    let code = match error {
        ReadError::Invalid { .. } => tonic::Code::InvalidArgument,
        ReadError::DataLoss(_) => tonic::Code::DataLoss,
        ReadError::Exhausted(_) => tonic::Code::ResourceExhausted,
        ReadError::Fenced(_) => tonic::Code::Aborted,
        ReadError::Unavailable(_) => tonic::Code::Unavailable,
    };
    if code == tonic::Code::DataLoss {
        TOLD.to_reader(error);
    }
    ReadOutcome {
        id,
        code: code.into(),
        message: error.to_string(),
        ..ReadOutcome::default()
    }
}

fn invalid(field: &'static str, reason: impl Into<String>) -> ReadError {
    ReadError::Invalid {
        field,
        reason: reason.into(),
    }
}

fn parse_log_id(field: &'static str, bytes: &[u8]) -> Result<LogId, ReadError> {
    let found = bytes.len();
    LogId::from_wire(bytes).ok_or_else(|| invalid(field, format!("{found} bytes, need 16")))
}
