//! Searches the protocol within each of the bounds that docs/model.md names, and prints the states.
//!
//! Run by `cargo xtask test`, step `model`. Invariant: exits with 0 only if every search was
//! exhaustive and no property failed.

use std::process::ExitCode;
use std::time::Instant;

use heddle_model::protocol::{REACHED, SEARCHES, SENT_AGAIN};
use heddle_model::{Bounds, Protocol};
use stateright::{Checker, Model};

fn main() -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut ok = true;
    for bounds in SEARCHES {
        ok &= search(bounds, threads);
    }
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn search(bounds: Bounds, threads: usize) -> bool {
    let began = Instant::now();
    let model = Protocol {
        bounds,
        mistake: None,
    };
    let done = model.checker().threads(threads).spawn_bfs().join();
    let (states, depth) = (done.unique_state_count(), done.max_depth());
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{bounds:?}: {states} states, {depth} steps deep, {seconds:.0} s, peak {}",
        peak_memory()
    );
    let found = done.discoveries();
    let wanted = [REACHED, SENT_AGAIN];
    for (name, path) in found.iter().filter(|(name, _)| !wanted.contains(name)) {
        println!("does not hold: {name}: {:?}", path.clone().into_actions());
    }
    done.is_done() && found.len() == wanted.len() && wanted.iter().all(|it| found.contains_key(it))
}

fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or("unknown".to_owned(), |peak| peak.trim().to_owned())
}
