//! Instruments: latencies, the CPU and memory of a process, the disk's sync time, limits.
//!
//! Used by the load driver, the benches and `xtask`. Reads the machine and changes nothing, but for
//! the limit of open files, which it says when it raises.

mod disk;
mod latency;
mod process_stat;
mod rlimit;

pub use disk::{DiskProbe, probe_fdatasync};
pub use latency::{Latency, Percentiles};
pub use process_stat::{ProcessStat, StatError};
pub use rlimit::{FileLimit, raise_open_files};
