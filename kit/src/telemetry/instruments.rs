//! Instruments: counters, gauges and histograms with a name, a unit and buckets that fit.
//!
//! Made once in a service's constructor and kept; recording is cheap, making is not.
//!
//! Invariant: durations are in seconds, from tens of microseconds to half a minute.

use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter};

const METER: &str = "heddle";

const SECONDS: [f64; 18] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0,
];
const COUNTS: [f64; 12] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0,
];
const BYTES: [f64; 9] = [
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
];

/// The meter of this process. One made before [`super::Telemetry::start`] records nothing.
pub fn meter() -> Meter {
    opentelemetry::global::meter(METER)
}

/// A number that only grows.
pub fn counter(name: &'static str, description: &'static str) -> Counter<u64> {
    meter()
        .u64_counter(name)
        .with_description(description)
        .build()
}

/// A number as it is now.
pub fn gauge(name: &'static str, description: &'static str) -> Gauge<u64> {
    meter()
        .u64_gauge(name)
        .with_description(description)
        .build()
}

/// How long something takes.
pub fn seconds(name: &'static str, description: &'static str) -> Histogram<f64> {
    meter()
        .f64_histogram(name)
        .with_description(description)
        .with_unit("s")
        .with_boundaries(SECONDS.to_vec())
        .build()
}

/// How many there are in something: items of a batch, members of a group.
pub fn count(name: &'static str, description: &'static str) -> Histogram<u64> {
    meter()
        .u64_histogram(name)
        .with_description(description)
        .with_boundaries(COUNTS.to_vec())
        .build()
}

/// How large something is.
pub fn bytes(name: &'static str, description: &'static str) -> Histogram<u64> {
    meter()
        .u64_histogram(name)
        .with_description(description)
        .with_unit("By")
        .with_boundaries(BYTES.to_vec())
        .build()
}
