//! Instruments: latencies, a process's CPU, memory and counters, the disk's sync time, limits.
//!
//! Used by the load driver, the benches and `xtask`. Reads the machine and changes nothing, but for
//! the limit of open files, which it says when it raises.

mod counters;
mod disk;
mod latency;
mod lateness;
mod process_stat;
mod rlimit;

pub use counters::{Counters, ScrapeError, scrape};
pub use disk::{DiskProbe, probe_fdatasync, watch_fdatasync};
pub use latency::{Latency, Percentiles};
pub use lateness::Lateness;
pub use process_stat::{ProcessStat, StatError};
pub use rlimit::{FileLimit, raise_open_files};
