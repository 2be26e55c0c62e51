//! The lane of one shard: its commits, in the order of the calls.
//!
//! A round takes what waits, up to the second commit of a log: of each log one batch is in flight.
//! The commits of a round are carried out side by side; one read of the epoch serves them.
//!
//! Invariant: every commit is answered, and a later one never takes effect on a log before an
//! earlier one.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures_util::future::join_all;
use heddle_kit::Tasks;
use heddle_proto::ids::LogId;
use heddle_proto::internal::{Commit, CommitOutcome, CommitStatus};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::commit;
use super::store::Inner;
use crate::refusal::Refusal;
use crate::store::outcome;

/// A commit that waits, with its place in the bound of bytes.
pub struct Job {
    /// The commit.
    pub commit: Commit,
    /// Whoever waits for it; may have gone.
    pub reply: oneshot::Sender<CommitOutcome>,
    /// Given back with the answer.
    pub permit: OwnedSemaphorePermit,
}

/// Works on one shard's commits until nobody sends any more or the service stops.
pub async fn run(inner: Arc<Inner>, mut queue: mpsc::Receiver<Job>, tasks: Tasks) {
    let mut waiting = VecDeque::new();
    loop {
        let next = tokio::select! {
            next = queue.recv() => next,
            () = tasks.stopping().cancelled() => queue.try_recv().ok(),
        };
        let Some(next) = next else { return };
        waiting.push_back(next);
        while !waiting.is_empty() {
            while let Ok(next) = queue.try_recv() {
                waiting.push_back(next);
            }
            let round = take_round(&mut waiting);
            carry_out(&inner, round).await;
        }
    }
}

/// The longest run of commits in which no log comes twice.
fn take_round(waiting: &mut VecDeque<Job>) -> Vec<Job> {
    let (mut round, mut logs) = (Vec::new(), HashSet::<LogId>::new());
    while let Some(job) = waiting.front() {
        let own: HashSet<LogId> = commit::logs_of(&job.commit).collect();
        if !round.is_empty() && !logs.is_disjoint(&own) {
            break;
        }
        logs.extend(own);
        round.extend(waiting.pop_front());
    }
    round
}

async fn carry_out(inner: &Inner, round: Vec<Job>) {
    let commits = round.iter().map(|job| &job.commit);
    take_over(inner, commits).await;
    let mut under_way = Vec::with_capacity(round.len());
    for job in round {
        let Job {
            commit,
            reply,
            permit,
        } = job;
        let (id, owner) = (commit.id, commit::owner_of(&commit));
        let formed = match judge(inner, &commit) {
            Ok(()) => commit::form(inner, commit).await,
            Err(refusal) => Err(refusal),
        };
        under_way.push(async move {
            let done = match formed {
                Ok(formed) => formed.carry_out(inner, owner).await,
                Err(refusal) => Err(refusal),
            };
            let told = match done {
                Ok(()) => outcome(id, CommitStatus::Committed, ""),
                Err(Refusal { status, message }) => outcome(id, status, message),
            };
            drop(permit);
            let _caller_may_have_gone = reply.send(told);
        });
    }
    join_all(under_way).await;
}

fn judge(inner: &Inner, commit: &Commit) -> Result<(), Refusal> {
    inner.owners.check(commit::owner_of(commit))?;
    commit::check(commit)
}

/// All logs of a round at once; who fails here is told when its commit is formed.
async fn take_over(inner: &Inner, commits: impl Iterator<Item = &Commit>) {
    let logs = commits.flat_map(|commit| {
        let owner = commit::owner_of(commit);
        let batches = commit.batches.iter();
        batches
            .filter_map(|batch| LogId::from_wire(&batch.log_id))
            .map(move |log_id| (owner, log_id))
    });
    let heads = logs.map(|(owner, log_id)| async move {
        let _told_later = inner.head(owner, log_id).await;
    });
    join_all(heads).await;
}
