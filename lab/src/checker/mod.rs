//! The history checker: judges what clients saw against what Heddle promises.
//!
//! A workload fills a [`History`] (or loads one from a [`mod@file`]); [`check`] judges it. Pure: no
//! clock, no network, and no code in common with the server or the SDK.
//!
//! Invariant: a verdict is never a guess. What can't be decided from the history (a device that
//! did not finish, a send whose answer never came) counts for nobody.

mod deliveries;
pub mod file;
mod history;
mod interned;
mod log;
mod members;
mod record;
mod report;
mod sends;
mod state;
#[cfg(test)]
mod tests;

/// Bodies that stand for what the reader can't see; no body hashes to them.
pub use history::{Device, History, Recorder};
pub use record::{
    BODY_ERASED, BODY_OVERLAID, Event, Final, Kind, Mark, MessageState, Outcome, Send, body_hash,
    reaction_hash,
};
pub use report::{EXAMPLES_MAX, Observed, Report, Verdict};

/// Judges a history. Takes time and memory linear (with a logarithm) in its observations.
pub fn check(history: &History) -> Report {
    let mut report = Report::new(history);
    let log = log::Log::rebuild(history, &mut report);
    sends::check(history, &log, &mut report);
    deliveries::check(history, &log, &mut report);
    state::check(history, &log, &mut report);
    members::check(history, &log, &mut report);
    report
}
