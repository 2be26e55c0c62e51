//! history-svc: the event store as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    heddle_kit::run_verbs(
        "history-svc",
        heddle_history::VERBS,
        heddle_history::perform,
    )
}
