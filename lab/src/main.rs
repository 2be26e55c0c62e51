//! heddle-lab: relays, benches, replays and faults, for `cargo xtask` and for work on the lab
//! itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    heddle_lab::cli::main()
}
