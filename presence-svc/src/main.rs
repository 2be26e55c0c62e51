//! presence-svc: presence as a process of its own.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    heddle_kit::run("presence-svc", heddle_presence::start)
}
