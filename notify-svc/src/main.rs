//! notify-svc: pushes as a process of their own.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    heddle_kit::run("notify-svc", heddle_notify::start)
}
