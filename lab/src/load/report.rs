//! What came of a plan.

use serde::{Deserialize, Serialize};

use crate::measure::Percentiles;

/// What came of a plan. Counts `_in_window` are of the measured time, the others of the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Sends made.
    pub sent: u64,
    /// Sends that the server refused.
    pub refused: u64,
    /// Sends that were never answered.
    pub unanswered: u64,
    /// Deliveries that were due and never came.
    pub missing_deliveries: u64,
    /// The measured time, in seconds.
    pub window_s: f64,
    /// Sends stored in it.
    pub stored_in_window: u64,
    /// Deliveries made in it.
    pub delivered_in_window: u64,
    /// Sends stored per second.
    pub stored_per_second: f64,
    /// Deliveries made per second.
    pub delivered_per_second: f64,
    /// From due to stored.
    pub stored_latency: Percentiles,
    /// From due to delivered.
    pub delivered_latency: Percentiles,
    /// From due to handed over to the session: the driver's own part of the latencies.
    pub pace_lag: Percentiles,
    /// The server's CPU per stored send, in microseconds, if its process is known.
    pub server_cpu_us_per_message: Option<f64>,
    /// The server's CPU per delivery, in microseconds, if its process is known.
    pub server_cpu_us_per_delivery: Option<f64>,
}

impl LoadReport {
    /// Everything sent was stored and delivered: otherwise the numbers flatter the server.
    pub fn is_complete(&self) -> bool {
        self.refused == 0 && self.unanswered == 0 && self.missing_deliveries == 0
    }

    /// What one that is not complete lost, in words.
    pub fn losses(&self) -> String {
        format!(
            "{} refused, {} unanswered, {} deliveries missing of {} sends",
            self.refused, self.unanswered, self.missing_deliveries, self.sent
        )
    }
}
