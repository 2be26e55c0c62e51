//! What a bench of a cluster found, as a section of docs/performance.md.
//!
//! The twin of [`super::json`]. Invariant: a figure that was not measured is "-", never a guess.

use std::fmt::Write as _;

use super::figures::{Figures, Goal, PACED, Round, STEPS, Step, ms};
use super::watch::{CASSANDRA, CLIENTS, REDIS, SERVICES};

/// What a statement has to come to, a message, to have a line on the page.
const SHOWN_FROM: f64 = 0.005;

/// The measure of what the transport alone costs.
const RELAY: &str = "bare relay";

/// How it was measured: what the section begins with.
pub struct Setting {
    /// Whether loads were short.
    pub quick: bool,
    /// The processes, in words.
    pub processes: String,
    /// Where presence is kept.
    pub presence: &'static str,
    /// Rounds.
    pub rounds: u32,
    /// How long each load was measured, in seconds.
    pub load_s: u64,
    /// Settings that differ from the defaults.
    pub raised: Vec<String>,
}

/// The section of the page.
pub fn render(figures: &Figures, setting: &Setting) -> String {
    let mut page = String::from("## The cluster\n\n");
    let quick = if setting.quick { " --quick" } else { "" };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let Setting {
        processes,
        presence,
        rounds,
        load_s,
        ..
    } = setting;
    let _ = writeln!(
        page,
        "Written by `cargo xtask bench --shape cluster{quick}`: {processes}; events on one node \
         of Cassandra (C2 and G1, `commitlog_sync: group`\nof {} ms), presence in {presence}; all \
         on one machine of {cores} cores, clients included.\n200 users in pairs where nothing \
         else is said, over all gateways, 100 bytes a message; recipients acknowledge and mark as \
         read as above. Medians of {rounds} rounds\nof {load_s} s, after a warm-up; CPU of a \
         process is what `/proc` says, statements are what history-svc counts \
         (`heddle.history.statements`).",
        figures.window_ms
    );
    let alone = figures.disk.map(|disk| disk.fdatasync);
    if let Some(alone) = alone.map(|found| sync(ms(found.p50_us), ms(found.p99_us))) {
        let _ = write!(page, "\nThe disk syncs 4 KiB in {alone}");
        let _ = match sync_beside_paced(figures) {
            Some(beside) => writeln!(page, " alone, in {beside} beside the paced load."),
            None => writeln!(page, "."),
        };
    }
    goals(&mut page, figures);
    loads(&mut page, figures);
    cpu(&mut page, figures);
    statement_table(&mut page, figures);
    for failure in &figures.failures {
        let _ = writeln!(page, "\n**Failed:** {failure}");
    }
    let raised = setting.raised.iter().map(|raised| format!("`{raised}`"));
    let raised: Vec<_> = raised.collect();
    let _ = writeln!(page, "\nSet for the bench: {}.", raised.join(", "));
    page
}

fn sync(p50_ms: f64, p99_ms: f64) -> String {
    format!("{p50_ms:.2} ms (p50), {p99_ms:.2} ms (p99)")
}

fn sync_beside_paced(figures: &Figures) -> Option<String> {
    let of = |of: fn(&Round) -> Option<f64>| figures.median(PACED, of);
    let p50 = of(|round| Some(ms(round.disk?.fdatasync.p50_us)))?;
    Some(sync(
        p50,
        of(|round| Some(ms(round.disk?.fdatasync.p99_us)))?,
    ))
}

fn goals(page: &mut String, figures: &Figures) {
    let _ = write!(page, "\n| what | goal | measured |\n|---|---|---|\n");
    for Goal {
        what,
        at_most,
        unit,
        measured,
    } in figures.goals()
    {
        let measured = match measured {
            Some(measured) => format!("{measured:.2}{unit}"),
            None => "not measured".to_owned(),
        };
        let _ = writeln!(page, "| {what} | at most {at_most}{unit} | {measured} |");
    }
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn loads(page: &mut String, figures: &Figures) {
    let _ = write!(
        page,
        "\n| load | messages/s | stored p50 / p99, ms | delivered p50 / p99, ms | events a commit \
         | events a row | a commit, ms |\n|---|---|---|---|---|---|---|\n"
    );
    for step in STEPS {
        let of = |digits, of: fn(&Round) -> Option<f64>| shown(figures.median(step, of), digits);
        let _ = writeln!(
            page,
            "| {step} | {} | {} / {} | {} / {} | {} | {} | {} |",
            of(0, |round| Some(round.report.stored_per_second)),
            of(1, |round| Some(ms(round.report.stored_latency.p50_us))),
            of(1, |round| Some(ms(round.report.stored_latency.p99_us))),
            of(1, |round| Some(ms(round.report.delivered_latency.p50_us))),
            of(1, |round| Some(ms(round.report.delivered_latency.p99_us))),
            of(1, |round| round.costs.events_per_commit),
            of(2, |round| round.costs.events_per_row),
            of(1, |round| round.costs.commit_ms),
        );
    }
}

fn cpu(page: &mut String, figures: &Figures) {
    let _ = writeln!(
        page,
        "\nCPU a message, in microseconds; last that of the bare relay, one process that stores \
         nothing and tells no marks, at as\nmany messages a second as the load reached, sent \
         evenly by as many people, with nothing beside it:\n"
    );
    let others = ["all services", CASSANDRA, REDIS, CLIENTS, RELAY];
    let whom = [&SERVICES[..], &others].concat();
    let _ = writeln!(page, "| load | {} |", whom.join(" | "));
    let _ = writeln!(page, "|---|{}", "---|".repeat(whom.len()));
    for step in STEPS {
        let of = |who: &&str| match *who {
            "all services" => figures.services_us(step),
            RELAY => figures.floor_us.get(&step).copied(),
            who => figures.cpu_us(step, who),
        };
        let used: Vec<_> = whom.iter().map(|who| shown(of(who), 1)).collect();
        let _ = writeln!(page, "| {step} | {} |", used.join(" | "));
    }
}

fn statement_table(page: &mut String, figures: &Figures) {
    let _ = writeln!(
        page,
        "\nStatements to Cassandra a message, by kind and table:\n"
    );
    let titles = STEPS.map(|step| step.to_string());
    let _ = writeln!(page, "| statement | {} |", titles.join(" | "));
    let _ = writeln!(page, "|---|{}", "---|".repeat(STEPS.len()));
    let mut line = |title: &str, of: &dyn Fn(Step) -> Option<f64>| {
        let sent = STEPS.map(|step| shown(of(step), 2));
        let _ = writeln!(page, "| {title} | {} |", sent.join(" | "));
    };
    let rows = |step| figures.median(step, |round: &Round| round.costs.rows_written());
    let reads = |step| figures.median(step, |round: &Round| round.costs.reads());
    line("**rows written**", &rows);
    line("**reads**", &reads);
    for name in figures.statements(&STEPS, SHOWN_FROM) {
        let title = match name.split_once(' ') {
            Some((kind, table)) => format!("`{kind}` {table}"),
            None => name.clone(),
        };
        line(&title, &|step| figures.statement(step, &name));
    }
}

/// For tests of both twins.
#[cfg(test)]
pub mod sample {
    use super::super::figures::SMALL_BATCHES;
    use super::*;
    use crate::load::LoadReport;

    /// One round of one load.
    pub fn figures() -> Figures {
        let mut round = Round {
            report: LoadReport {
                stored_per_second: 1234.0,
                ..LoadReport::default()
            },
            ..Round::default()
        };
        round.costs.cpu_us = [(CASSANDRA, 512.0), ("gateway", 20.0), ("chat-svc", 21.5)].into();
        for (name, sent) in [
            ("row_write log", 3.0),
            ("cell_write members", 0.25),
            ("epoch_read shards", 0.5),
            ("lease_write nodes", 0.001),
            ("cell_delete members", 0.0),
        ] {
            round.costs.statements.insert(name.to_owned(), sent);
        }
        let mut figures = Figures::default();
        figures.rounds.insert(SMALL_BATCHES, vec![round]);
        figures.floor_us.insert(SMALL_BATCHES, 33.0);
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting() -> Setting {
        Setting {
            quick: false,
            processes: "2 history-svc".to_owned(),
            presence: "Redis",
            rounds: 1,
            load_s: 10,
            raised: vec!["gateway.rates.user_per_second=0".to_owned()],
        }
    }

    #[test]
    fn the_section_shows_what_matters_of_it() {
        let page = render(&sample::figures(), &setting());
        for line in [
            "| direct, 1 each: reads a message | at most 2 | 0.50 |",
            "| direct, 1 each: CPU of all services a message | at most 60 us | 41.50 us |",
            "| direct, 1 each | 20.0 | 21.5 | - | - | - | 41.5 | 512.0 | - | - | 33.0 |",
            "| `row_write` log | 3.00 | - | - | - | - | - | - |",
            "| **rows written** | 3.25 | - | - | - | - | - | - |",
        ] {
            assert!(page.lines().any(|of| of == line), "{line}: {page}");
        }
        assert!(
            !page.contains("lease_write") && !page.contains("cell_delete"),
            "{page}"
        );
        assert!(page.contains("measured |\n"), "{page}");
    }
}
