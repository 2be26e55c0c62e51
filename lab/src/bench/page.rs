//! What a comparison found, as JSON for machines and as docs/performance.md for people.
//!
//! Invariant: a figure that was not measured is `null` or "not measured", never a guess.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::compare::{CompareOptions, Figures, Size};
use crate::load::LoadReport;

/// The middle one; none of none.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

impl Figures {
    fn median(
        &self,
        server: &'static str,
        load: &'static str,
        of: impl Fn(&LoadReport) -> Option<f64>,
    ) -> Option<f64> {
        let reports = self.loads.get(&(server, load))?;
        median(reports.iter().filter_map(of).collect())
    }

    fn ratio(
        &self,
        load: &'static str,
        of: impl Fn(&LoadReport) -> Option<f64> + Copy,
    ) -> Option<f64> {
        let (ours, relays) = (
            self.median("heddle", load, of)?,
            self.median("durable", load, of)?,
        );
        (relays > 0.0).then(|| ours / relays)
    }

    fn stalled_ratio(&self) -> Option<f64> {
        self.stalled.as_ref().map(|stalled| stalled.p99_ratio)
    }

    fn stalled_growth_mib(&self) -> Option<f64> {
        self.stalled.as_ref()?.rss_growth_mib
    }

    fn resume_ms(&self) -> Option<f64> {
        median(self.resumes.iter().map(|resume| resume.ms).collect())
    }
}

fn rate(report: &LoadReport) -> Option<f64> {
    Some(report.stored_per_second)
}

fn p99(report: &LoadReport) -> Option<f64> {
    Some(report.delivered_latency.p99_us as f64)
}

fn cpu_per_message(report: &LoadReport) -> Option<f64> {
    report.server_cpu_us_per_message
}

fn cpu_per_delivery(report: &LoadReport) -> Option<f64> {
    report.server_cpu_us_per_delivery
}

/// The line that `cargo xtask bench --json` ends with.
pub fn result(figures: &Figures) -> Value {
    let rounded = |value: Option<f64>| value.map(|value| (value * 1000.0).round() / 1000.0);
    json!({
        "direct": {
            "ratio_to_durable_relay": rounded(figures.ratio("direct", rate)),
            "cpu_us_per_message": rounded(figures.median("heddle", "direct", cpu_per_message)),
        },
        "paced": { "p99_ratio_to_durable_relay": rounded(figures.ratio("paced", p99)) },
        "group": {
            "cpu_us_per_delivery": rounded(figures.median("heddle", "group", cpu_per_delivery)),
            "cpu_ratio_to_durable_relay": rounded(figures.ratio("group", cpu_per_delivery)),
        },
        "idle": {
            "kib_per_session": rounded(figures.idle.and_then(|idle| idle.kib_per_session)),
        },
        "resume": { "ms_for_10000": rounded(figures.resume_ms()) },
        "stalled": {
            "p99_ratio": rounded(figures.stalled_ratio()),
            "rss_growth_mib": rounded(figures.stalled_growth_mib()),
        },
    })
}

/// The page.
pub fn render(figures: &Figures, size: Size, options: &CompareOptions) -> String {
    let mut page = String::from("# Performance\n\n");
    let quick = if options.quick { " --quick" } else { "" };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let _ = write!(
        page,
        "Written by `cargo xtask bench{quick}`, which runs Heddle and two bare relays (one stores \
         nothing, one appends\nand syncs before it answers) in turns on one machine of {cores} \
         cores, clients included. Medians of {} rounds of\n{} s; latencies count from the instant \
         at which a send was due (HDR percentiles, corrected for coordinated\nomission). \
         Recipients acknowledge each 32 events or 50 ms and mark as read each 50 ms.\n",
        options.rounds, size.load_s
    );
    if let Some(disk) = figures.disk {
        let (p50, p99) = (disk.fdatasync.p50_us, disk.fdatasync.p99_us);
        let _ = writeln!(
            page,
            "\nThe disk syncs 4 KiB in {p50} us (p50), {p99} us (p99)."
        );
    }
    goals(&mut page, figures, size);
    tables(&mut page, figures);
    for failure in &figures.failures {
        let _ = writeln!(page, "\n**Failed:** {failure}");
    }
    let raised = figures.raised.iter().map(|raised| format!("`{raised}`"));
    let _ = writeln!(
        page,
        "\nRaised for the bench: {}; the client's limit of open files.",
        raised.collect::<Vec<_>>().join(", ")
    );
    page
}

fn goals(page: &mut String, figures: &Figures, size: Size) {
    let shown = |value: Option<f64>, unit: &str| match value {
        Some(value) => format!("{value:.2}{unit}"),
        None => "not measured".to_owned(),
    };
    let _ = write!(
        page,
        "\n## Against the goals\n\n| what | goal | measured |\n|---|---|---|\n"
    );
    let idle = format!("{} idle sessions, memory each", size.sessions);
    let stalled = format!("{} groups of 100 stop reading: pairs' p99", size.groups);
    let grown = format!("{} s of that: the server's memory", size.stalled_s);
    let rows: [(&str, &str, String); 9] = [
        (
            "direct: rate against the durable relay's",
            "at least 0.33",
            shown(figures.ratio("direct", rate), ""),
        ),
        (
            "direct: server CPU a message",
            "at most 15 us",
            shown(figures.median("heddle", "direct", cpu_per_message), " us"),
        ),
        (
            "paced: p99 against the durable relay's",
            "at most 3",
            shown(figures.ratio("paced", p99), ""),
        ),
        (
            "group: server CPU a delivery",
            "at most 25 us, or",
            shown(figures.median("heddle", "group", cpu_per_delivery), " us"),
        ),
        (
            "group: that against the durable relay's",
            "at most 1.4",
            shown(figures.ratio("group", cpu_per_delivery), ""),
        ),
        (
            &idle,
            "at most 40 KiB",
            shown(figures.idle.and_then(|idle| idle.kib_per_session), " KiB"),
        ),
        (
            "resume of 10,000 events after a restart",
            "at most 300 ms",
            shown(figures.resume_ms(), " ms"),
        ),
        (
            &stalled,
            "at most 1.2 times that beside readers",
            shown(figures.stalled_ratio(), ""),
        ),
        (
            &grown,
            "grows by at most 64 MiB",
            shown(figures.stalled_growth_mib(), " MiB"),
        ),
    ];
    for (what, goal, measured) in rows {
        let _ = writeln!(page, "| {what} | {goal} | {measured} |");
    }
}

fn tables(page: &mut String, figures: &Figures) {
    for (load, title) in [
        (
            "direct",
            "Direct: 200 users in pairs, 100 bytes, 16 in flight each",
        ),
        (
            "paced",
            "Paced: 200 users in pairs, 2,000 messages a second",
        ),
        ("group", "Group: 100 members, 100 messages a second"),
    ] {
        let _ = write!(
            page,
            "\n## {title}\n\n| server | messages/s | deliveries/s | stored p50 / p99 | delivered \
             p50 / p99 | CPU a message | CPU a delivery |\n|---|---|---|---|---|---|---|\n"
        );
        for server in ["bare", "durable", "heddle"] {
            let of = |value: fn(&LoadReport) -> f64| {
                figures
                    .median(server, load, |report| Some(value(report)))
                    .unwrap_or(f64::NAN)
            };
            let ms = |value: fn(&LoadReport) -> u64| {
                let us = figures.median(server, load, |report| Some(value(report) as f64));
                us.unwrap_or(f64::NAN) / 1000.0
            };
            let _ = writeln!(
                page,
                "| {server} | {:.0} | {:.0} | {:.2} / {:.2} ms | {:.2} / {:.2} ms | {:.1} us | \
                 {:.1} us |",
                of(|report| report.stored_per_second),
                of(|report| report.delivered_per_second),
                ms(|report| report.stored_latency.p50_us),
                ms(|report| report.stored_latency.p99_us),
                ms(|report| report.delivered_latency.p50_us),
                ms(|report| report.delivered_latency.p99_us),
                of(|report| report.server_cpu_us_per_message.unwrap_or(f64::NAN)),
                of(|report| report.server_cpu_us_per_delivery.unwrap_or(f64::NAN)),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_is_null_and_ratios_are_of_medians() {
        let mut figures = Figures::default();
        assert_eq!(
            result(&figures)["direct"]["ratio_to_durable_relay"],
            Value::Null
        );
        let report = |rate: f64| LoadReport {
            stored_per_second: rate,
            ..LoadReport::default()
        };
        let ours = [10.0, 30.0, 20.0].map(report).to_vec();
        figures.loads.insert(("heddle", "direct"), ours);
        figures
            .loads
            .insert(("durable", "direct"), vec![report(40.0)]);
        assert_eq!(result(&figures)["direct"]["ratio_to_durable_relay"], 0.5);
    }
}
