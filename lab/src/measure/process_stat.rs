//! CPU time and memory of a process, from /proc.

use std::fs;
use std::time::Duration;

/// Why a process can't be measured.
#[derive(Debug, thiserror::Error)]
pub enum StatError {
    /// There is no such process, or it is another user's.
    #[error("process {pid} can't be measured: {cause}; is it still running?")]
    Unreadable {
        /// The process's id.
        pid: u32,
        /// What reading /proc said.
        cause: std::io::Error,
    },
    /// /proc does not look as on Linux.
    #[error("/proc says of process {pid} what this program does not understand")]
    Malformed {
        /// The process's id.
        pid: u32,
    },
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessStat {
    /// CPU time of all its threads, user and system.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub rss_bytes: u64,
    /// The most that was ever resident, in bytes.
    pub rss_max_bytes: u64,
}

impl ProcessStat {
    /// Measures a process; CPU time is exact to a tick (10 ms on most kernels).
    pub fn of(pid: u32) -> Result<ProcessStat, StatError> {
        let read = |file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}"))
                .map_err(|cause| StatError::Unreadable { pid, cause })
        };
        let cpu = cpu(&read("stat")?).ok_or(StatError::Malformed { pid })?;
        let status = read("status")?;
        // A process that has ended, but was not waited for, has no memory.
        let rss_bytes = kib(&status, "VmRSS:").unwrap_or(0) * 1024;
        let rss_max_bytes = kib(&status, "VmHWM:").unwrap_or(0) * 1024;
        Ok(ProcessStat {
            cpu,
            rss_bytes,
            rss_max_bytes,
        })
    }

    /// CPU time used since an earlier measurement, per item, in microseconds; 0 for no items.
    pub fn cpu_us_per(&self, earlier: &ProcessStat, items: u64) -> f64 {
        let used = self.cpu.saturating_sub(earlier.cpu);
        if items == 0 {
            0.0
        } else {
            used.as_secs_f64() * 1e6 / items as f64
        }
    }
}

/// Fields 14 and 15 of the stat line. The name (field 2) is in parentheses and may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user_ticks: u64 = fields.next()?.parse().ok()?;
    let system_ticks: u64 = fields.next()?.parse().ok()?;
    let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
    let ticks = user_ticks + system_ticks;
    Some(Duration::from_secs_f64(
        ticks as f64 / ticks_per_second as f64,
    ))
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!("7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 {ticks} {ticks} 0 0");
        assert_eq!(cpu(&stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu("nonsense"), None);
    }

    #[test]
    fn one_can_measure_oneself() {
        let before = ProcessStat::of(std::process::id()).unwrap();
        let ticks = Duration::from_millis(50);
        let mut sum = 0_u64;
        while ProcessStat::of(std::process::id()).unwrap().cpu < before.cpu + ticks {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
        let after = ProcessStat::of(std::process::id()).unwrap();
        assert!(after.rss_bytes > 0 && after.rss_max_bytes >= after.rss_bytes);
        assert!(after.cpu_us_per(&before, 10) >= 5_000.0);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let error = ProcessStat::of(u32::MAX).unwrap_err().to_string();
        assert!(error.contains(&u32::MAX.to_string()), "{error}");
    }
}
