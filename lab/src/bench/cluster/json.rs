//! What a bench of a cluster found, as one line of JSON.
//!
//! The twin of [`super::page`]. Invariant: a figure that was not measured is `null`, never a guess.

use serde_json::{Map, Value, json};

use super::figures::{Figures, Goal, Round, STEPS, Step, ms};
use super::watch::{CASSANDRA, CLIENTS, REDIS, SERVICES};

/// The one line of JSON.
pub fn result(figures: &Figures) -> Value {
    let mut loads = Map::new();
    for step in STEPS {
        loads.insert(step.key(), load(figures, step));
    }
    let goals = figures.goals();
    let goals = goals.iter().map(|goal| {
        json!({
            "what": goal.what,
            "at_most": goal.at_most,
            "unit": goal.unit.trim(),
            "measured": rounded(goal.measured),
            "reached": is_reached(goal),
        })
    });
    json!({
        "shape": "cluster",
        "window_ms": figures.window_ms,
        "idle_fsync_p99_ms": rounded(figures.disk.map(|disk| ms(disk.fdatasync.p99_us))),
        "goals": goals.collect::<Vec<_>>(),
        "loads": loads,
        "failures": figures.failures,
    })
}

fn load(figures: &Figures, step: Step) -> Value {
    let of = |of: fn(&Round) -> Option<f64>| rounded(figures.median(step, of));
    let whom = SERVICES.iter().chain(&[CASSANDRA, REDIS, CLIENTS]);
    let cpu = whom.map(|who| ((*who).to_owned(), json!(rounded(figures.cpu_us(step, who)))));
    let statements = figures.statements(&[step], 0.0).into_iter();
    let statements = statements.map(|name| {
        let sent = rounded(figures.statement(step, &name));
        (name, json!(sent))
    });
    json!({
        "rounds": figures.rounds.get(&step).map_or(0, Vec::len),
        "messages_per_second": of(|round| Some(round.report.stored_per_second)),
        "stored_p50_ms": of(|round| Some(ms(round.report.stored_latency.p50_us))),
        "stored_p99_ms": of(|round| Some(ms(round.report.stored_latency.p99_us))),
        "delivered_p50_ms": of(|round| Some(ms(round.report.delivered_latency.p50_us))),
        "delivered_p99_ms": of(|round| Some(ms(round.report.delivered_latency.p99_us))),
        "fsync_p50_ms": of(|round| round.disk.map(|disk| ms(disk.fdatasync.p50_us))),
        "fsync_p99_ms": of(|round| round.disk.map(|disk| ms(disk.fdatasync.p99_us))),
        "events_per_commit": of(|round| round.costs.events_per_commit),
        "events_per_row": of(|round| round.costs.events_per_row),
        "commit_ms": of(|round| round.costs.commit_ms),
        "rows_written": of(|round| round.costs.rows_written()),
        "reads": of(|round| round.costs.reads()),
        "services_cpu_us": rounded(figures.services_us(step)),
        "relay_cpu_us": rounded(figures.floor_us.get(&step).copied()),
        "cpu_us": cpu.collect::<Map<_, _>>(),
        "statements": statements.collect::<Map<_, _>>(),
    })
}

fn rounded(value: Option<f64>) -> Option<f64> {
    value.map(|value| (value * 1000.0).round() / 1000.0)
}

fn is_reached(goal: &Goal) -> Option<bool> {
    goal.measured.map(|measured| measured <= goal.at_most)
}

#[cfg(test)]
mod tests {
    use super::super::figures::TEN_IN_FLIGHT;
    use super::super::page::sample;
    use super::*;

    #[test]
    fn json_has_all_and_null_for_what_was_not_measured() {
        let result = result(&sample::figures());
        let small = &result["loads"]["direct_1"];
        assert_eq!(small["rows_written"], 3.251);
        assert_eq!(small["reads"], 0.5);
        assert_eq!(small["services_cpu_us"], 41.5);
        assert_eq!(small["relay_cpu_us"], 33.0);
        assert_eq!(small["cpu_us"]["cassandra"], 512.0);
        assert_eq!(small["cpu_us"]["redis"], Value::Null);
        assert_eq!(small["statements"]["lease_write nodes"], 0.001);
        assert_eq!(small["statements"].get("cell_delete members"), None);
        assert_eq!(result["loads"][TEN_IN_FLIGHT.key()]["reads"], Value::Null);
        assert_eq!(result["goals"][0]["reached"], true);
        assert_eq!(result["goals"][6]["reached"], Value::Null);
    }
}
