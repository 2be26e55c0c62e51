//! The checker's answer: how often each promise was broken, and the first few examples.
//!
//! Written by every part of the checker, printed by `heddle check` and the fault suites.
//!
//! Invariant: every verdict is in the report, also at zero, so that its absence means something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{History, Outcome};

/// How many examples of each verdict are kept.
pub const EXAMPLES_MAX: usize = 5;

/// A promise that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// A committed event did not reach a finished device of one who was a member.
    Lost,
    /// One send was stored twice, or one event took two positions in a mailbox.
    Duplicated,
    /// Something was seen that nobody sent, or whose send had failed for certain.
    Unexpected,
    /// Two observers disagree about what stands where.
    OrderDivergence,
    /// A hole: seqs that no one ever saw below one that someone did.
    SeqGap,
    /// Two acknowledged sends got the same seq.
    SeqReuse,
    /// A device's sends were stored in another order than it made them.
    SessionOrder,
    /// A position or a mark went back.
    CursorBack,
    /// A device's state is not what replaying the log gives.
    StateDivergence,
    /// A device saw an event from outside its user's membership.
    SeenByStranger,
    /// A body was served after its erasure had been answered OK.
    SeenAfterErasure,
}

impl Verdict {
    /// All verdicts, in the order in which they are explained.
    pub const ALL: [Verdict; 11] = [
        Verdict::Lost,
        Verdict::Duplicated,
        Verdict::Unexpected,
        Verdict::OrderDivergence,
        Verdict::SeqGap,
        Verdict::SeqReuse,
        Verdict::SessionOrder,
        Verdict::CursorBack,
        Verdict::StateDivergence,
        Verdict::SeenByStranger,
        Verdict::SeenAfterErasure,
    ];

    /// The verdict's name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Lost => "lost",
            Verdict::Duplicated => "duplicated",
            Verdict::Unexpected => "unexpected",
            Verdict::OrderDivergence => "order_divergence",
            Verdict::SeqGap => "seq_gap",
            Verdict::SeqReuse => "seq_reuse",
            Verdict::SessionOrder => "session_order",
            Verdict::CursorBack => "cursor_back",
            Verdict::StateDivergence => "state_divergence",
            Verdict::SeenByStranger => "seen_by_stranger",
            Verdict::SeenAfterErasure => "seen_after_erasure",
        }
    }
}

/// The answer to a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How often each promise was broken; all verdicts are present.
    pub verdicts: BTreeMap<String, u64>,
    /// The first few of each that was broken, in words.
    pub examples: BTreeMap<String, Vec<String>>,
    /// What was judged: a report about nothing is no good news.
    pub observed: Observed,
}

/// What a history holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Sends made.
    pub sends: u64,
    /// Sends answered OK.
    pub acknowledged: u64,
    /// Sends that were never answered, neither well nor with an error.
    #[serde(default)]
    pub unanswered: u64,
    /// Events seen, over all devices, history reads included.
    pub deliveries: u64,
    /// Final states compared with the log.
    pub finals: u64,
}

impl Report {
    pub(super) fn new(history: &History) -> Report {
        let acknowledged = history
            .sends
            .iter()
            .filter(|send| send.outcome.is_ok())
            .count();
        let unanswered = history
            .sends
            .iter()
            .filter(|send| send.outcome == Outcome::Unknown && send.answered_us == 0)
            .count();
        Report {
            verdicts: Verdict::ALL
                .map(|verdict| (verdict.name().to_owned(), 0))
                .into(),
            examples: BTreeMap::new(),
            observed: Observed {
                sends: history.sends.len() as u64,
                acknowledged: acknowledged as u64,
                unanswered: unanswered as u64,
                deliveries: history.deliveries(),
                finals: history.finals.len() as u64,
            },
        }
    }

    /// Counts a broken promise; the words are made only while examples are still wanted.
    pub(super) fn add(&mut self, verdict: Verdict, example: impl FnOnce() -> String) {
        *self.verdicts.entry(verdict.name().to_owned()).or_default() += 1;
        let examples = self.examples.entry(verdict.name().to_owned()).or_default();
        if examples.len() < EXAMPLES_MAX {
            examples.push(example());
        }
    }

    /// How often this promise was broken.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(verdict.name()).copied().unwrap_or(0)
    }

    /// No promise was broken.
    pub fn is_clean(&self) -> bool {
        self.verdicts.values().all(|count| *count == 0)
    }
}
