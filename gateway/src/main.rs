//! gateway: the edge as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    heddle_kit::run("gateway", heddle_gateway::start)
}
