//! A look at every record of a store that nobody uses: what `heddle check --store` does.
//!
//! Opening it checks journals and lists of tables (`embedded`); this reads every row and cell,
//! verifies checksums, that logs are chains, that pointers lead to events and that cells can be
//! read.
//!
//! Invariant: a problem never ends the walk unless the engine cannot go on; what could not be
//! looked at is a problem too.

mod cells;
mod rows;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::config::HistoryConfig;
use crate::embedded::{Engine, OpenError, open_for_check};

/// Problems that are listed; the others are counted.
pub const PROBLEMS_LISTED_MAX: usize = 1_000;
/// Records between two calls of the progress callback.
const PROGRESS_RECORDS: u64 = 10_000;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Logs: conversations and mailboxes.
    pub logs: u64,
    /// Rows of logs.
    pub rows: u64,
    /// Events in them.
    pub events: u64,
    /// Cells of projection tables.
    pub cells: u64,
    /// Bytes of all values.
    pub bytes: u64,
    /// The first problems, for people.
    pub problems: Vec<String>,
    /// How many problems there are in all.
    pub problem_count: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problem_count == 0
    }

    fn problem(&mut self, text: impl Into<String>) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_LISTED_MAX {
            self.problems.push(text.into());
        }
    }
}

/// How far the check is, in records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Looked at.
    pub done: u64,
    /// About how many there are.
    pub total: u64,
}

/// Counts records and tells of them now and then.
struct Meter<'a> {
    progress: Progress,
    tell: &'a mut dyn FnMut(Progress),
}

impl Meter<'_> {
    fn tick(&mut self) {
        self.progress.done += 1;
        if self.progress.done.is_multiple_of(PROGRESS_RECORDS) {
            self.progress.total = self.progress.total.max(self.progress.done);
            (self.tell)(self.progress);
        }
    }
}

/// Checks the store below `config.data_dir`. Blocks; the store must not be in use.
///
/// An error says why the store does not even open; all else is in the report.
pub fn check(
    config: &HistoryConfig,
    mut progress: impl FnMut(Progress),
) -> Result<Report, OpenError> {
    let (_lock, engine) = open_for_check(config)?;
    let mut report = Report::default();
    // Rows are walked twice: for themselves, and for what mailboxes point to.
    let total = 2 * engine.logs.approximate_len() + engine.cells.approximate_len();
    let total = Progress {
        done: 0,
        total: total as u64,
    };
    let mut meter = Meter {
        progress: total,
        tell: &mut progress,
    };
    let walked = catch_unwind(AssertUnwindSafe(|| walk(&engine, &mut report, &mut meter)));
    if walked.is_err() {
        report.problem("the engine panicked while reading: a file of it is damaged");
    }
    let done = meter.progress.done;
    progress(Progress { done, total: done });
    Ok(report)
}

fn walk(engine: &Engine, report: &mut Report, meter: &mut Meter<'_>) {
    let logs = rows::check(engine, report, meter);
    rows::check_pointers(engine, &logs, report, meter);
    cells::check(engine, &logs, report, meter);
}
