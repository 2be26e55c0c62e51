//! Data loss: each answer that says that what was stored is missing or damaged, for the alarm.
//!
//! `query` tells readers so, `refusal` and `cassandra::after` those who commit. No status of a call
//! shows it: it is said of one item of a frame.
//!
//! Invariant: an answer is counted once, where it is made, and logged there: the alarm says that
//! something is lost, the log what.

use std::fmt::Display;
use std::sync::LazyLock;

use heddle_kit::telemetry::{Tallies, Tally};

/// Such answers, as `docs/telemetry.md` names them; of the process, like all metrics.
pub static TOLD: LazyLock<Told> = LazyLock::new(|| {
    let mut kinds = Tallies::<1>::default();
    let mut of = |kind| kinds.of([("kind", kind)]);
    let told = Told {
        reads: of("read"),
        commits: of("commit"),
    };
    kinds.observe(
        "heddle.history.data_loss",
        "Answers that what was stored is missing or damaged",
    );
    told
});

/// How often it was told.
pub struct Told {
    /// To readers; a chat node that loads a log is one.
    pub reads: Tally,
    /// To chat nodes whose commit needs what is lost.
    pub commits: Tally,
}

impl Told {
    /// A read is answered with it.
    pub fn to_reader(&self, what: impl Display) {
        self.reads.add(1);
        tracing::error!(error = %what, "a read found data missing");
    }

    /// A commit is not confirmed for it.
    pub fn to_committer(&self, what: impl Display) {
        self.commits.add(1);
        tracing::error!(error = %what, "a commit found data missing");
    }
}

/// Has metrics show the counts from now on. An alarm sees one grow only if it was there before.
pub fn watch() {
    let _counted = LazyLock::force(&TOLD);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ReadError;
    use crate::{query, refusal};
    use heddle_proto::internal::CommitStatus;

    /// Other tests of the process count too, so what is there can only grow.
    #[test]
    fn what_is_lost_is_counted_where_it_is_told() {
        watch();
        let before = (TOLD.reads.count(), TOLD.commits.count());
        let lost = "event 7 is missing".to_owned();
        let outcome = query::failure(1, &ReadError::DataLoss(lost.clone()));
        assert_eq!(outcome.code, i32::from(tonic::Code::DataLoss));
        assert_eq!(refusal::lost(lost).status, CommitStatus::Refused);
        assert!(TOLD.reads.count() > before.0);
        assert!(TOLD.commits.count() > before.1);
    }
}
