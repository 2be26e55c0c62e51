//! The one binary for people. Everything is in the library; here are the allocator and the way in.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    heddle::cli::main()
}
