//! What a session that does nothing costs: memory of the server, after a while with heartbeats.
//!
//! Invariant: all sessions are open to the end; one that is cut fails the measurement.

use std::time::Duration;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::BenchError;
use crate::load::{ChatTransport, hold_idle};
use crate::measure::ProcessStat;

/// What idle sessions cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct IdleReport {
    /// Sessions that were held open.
    pub sessions: u32,
    /// For how long, in seconds.
    pub held_s: f64,
    /// Resident memory before the first, in KiB, if the process is known.
    pub before_kib: Option<u64>,
    /// Resident memory at the end, in KiB.
    pub after_kib: Option<u64>,
    /// The difference, per session.
    pub kib_per_session: Option<f64>,
    /// CPU of the server while they idle, in milliseconds a second.
    pub cpu_ms_per_second: Option<f64>,
}

/// Opens so many sessions and holds them.
pub async fn run<T: ChatTransport>(
    transport: &T,
    sessions: u32,
    hold: Duration,
    pid: Option<u32>,
) -> Result<IdleReport, BenchError> {
    let stat = || pid.map(ProcessStat::of).transpose();
    let before = stat()?;
    let stop = CancellationToken::new();
    let (opened, is_open) = tokio::sync::oneshot::channel();
    let holding = hold_idle(
        transport,
        sessions,
        move || {
            // Who waits is below, and gone only together with this.
            let _ = opened.send(());
        },
        stop.clone(),
    );
    let watching = async {
        // The other side is dropped only when the sessions failed, and then they say so.
        let _ = is_open.await;
        let opened = stat()?;
        tokio::time::sleep(hold).await;
        let after = stat()?;
        stop.cancel();
        Ok::<_, BenchError>((opened, after))
    };
    let (opened, after) = tokio::try_join!(async { Ok(holding.await?) }, watching)?.1;
    let kib = |stat: ProcessStat| stat.rss_bytes / 1024;
    let grown = before.zip(after).map(|(before, after)| {
        kib(after).saturating_sub(kib(before)) as f64 / f64::from(sessions.max(1))
    });
    let cpu = opened.zip(after).map(|(opened, after)| {
        after.cpu.saturating_sub(opened.cpu).as_secs_f64() * 1000.0 / hold.as_secs_f64().max(0.001)
    });
    Ok(IdleReport {
        sessions,
        held_s: hold.as_secs_f64(),
        before_kib: before.map(kib),
        after_kib: after.map(kib),
        kib_per_session: grown,
        cpu_ms_per_second: cpu,
    })
}
