//! What a run of the suite prints around its steps.
//!
//! Called by `suite::run` only. Everything goes to standard output, where `cargo test` prints too,
//! so that the order holds in a log. Invariant: the last line is the count that a CI reads.

use std::io::IsTerminal;
use std::time::Duration;

use owo_colors::{OwoColorize, Style};

use super::steps::Step;
use super::{Row, State};

/// Before a step.
pub fn heading(step: &Step) {
    let title = format!("== {}: {}", step.name, step.about);
    println!("\n{}", painted(&title, Style::new().bold()));
}

/// After a step.
pub fn ended(row: &Row) {
    println!("{}", line(row));
}

/// At the end: all steps again, then the count, alone on its line.
pub fn table(rows: &[Row], failed: u64) {
    println!("\n== all steps");
    for row in rows {
        println!("{}", line(row));
    }
    println!(
        "{:8} {}",
        "",
        seconds(rows.iter().map(|row| row.took).sum())
    );
    let missing = rows
        .iter()
        .filter(|row| matches!(row.state, State::Missing(_)))
        .count();
    if missing > 0 {
        let warning =
            format!("{missing} steps did not run: this machine lacks what they need (above)");
        println!("{}", painted(&warning, Style::new().yellow()));
    }
    let passed: u64 = rows.iter().map(|row| row.tally.passed).sum();
    println!("\n{passed} passed, {failed} failed");
}

fn line(row: &Row) -> String {
    let (word, note) = match &row.state {
        State::Passed(note) => ("ok", note.clone()),
        State::Failed(why) => ("FAILED", why.clone()),
        State::Missing(what) => ("MISSING", what.clone()),
        State::Impossible(why) => ("NOT RUN", why.clone()),
        State::Skipped(need) => ("skipped", format!("{need} failed")),
    };
    let style = match row.state {
        State::Passed(_) => Style::new().green(),
        State::Failed(_) => Style::new().red(),
        State::Missing(_) | State::Impossible(_) | State::Skipped(_) => Style::new().yellow(),
    };
    let word = painted(&format!("{word:8}"), style);
    format!("{:8} {} {word} {note}", row.name, seconds(row.took))
}

/// Colours are for people; a log gets none.
fn painted(text: &str, style: Style) -> String {
    if std::io::stdout().is_terminal() {
        text.style(style).to_string()
    } else {
        text.to_owned()
    }
}

/// A duration in seconds, of one width up to a day.
fn seconds(took: Duration) -> String {
    format!("{:8.1} s", took.as_secs_f64())
}
