//! history-svc: the event store as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    heddle_kit::run("history-svc", heddle_history::start)
}
