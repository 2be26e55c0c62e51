//! history-svc: the event store as a process of its own.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    heddle_kit::run_verbs(
        "history-svc",
        heddle_history::VERBS,
        heddle_history::perform,
    )
}
