//! Mistakes that can be planted: each of DESIGN section 5, and those beside them.
//!
//! Read by `owner` and `chain` at the one place where each rule stands. Invariant: every mistake
//! has a test (`tests/mistakes.rs`).

/// A rule that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// OK is said once the rows are stored; the epoch is not read.
    OkBeforeEpochRead,
    /// The tail is read first, and the epoch raised afterwards.
    TailBeforeRaise,
    /// One replica is enough for a write.
    OneReplica,
    /// A chain goes on with a row of an older epoch than the one before.
    DecreasingEpochs,
    /// The next batch is sent before the one before it is committed.
    TwoInFlight,
    /// The uncertain end of a tail is served as it was found.
    TailNotRewritten,
    /// A batch of two events is two rows.
    SeveralRows,
    /// Write timestamps do not begin with the epoch: of two writes the one that arrives last wins.
    StampsWithoutEpoch,
    /// Rows expire before an anchor that covers them is stored.
    ExpiryBeforeAnchor,
    /// What an owner knows counts on under its next epoch, though another owner had one in between.
    KeptAcrossAnOwner,
}
