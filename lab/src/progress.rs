//! Progress bars that keep quiet where nobody looks: with `--json`, or off a terminal.
//!
//! Invariant: only stderr is written to, so that stdout stays a machine's.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over a known count of things; cheap to clone and to move between tasks.
#[derive(Clone, Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins a bar, hidden with `json` or when stderr is no terminal.
    pub fn new(what: &str, total: u64, json: bool) -> Progress {
        if json || !std::io::stderr().is_terminal() {
            return Progress::silent();
        }
        let template = "{msg:14} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}";
        // A template that the library refuses costs the looks, not the run.
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total)
            .with_style(style)
            .with_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress { bar }
    }

    /// A bar that never shows.
    pub fn silent() -> Progress {
        Progress {
            bar: ProgressBar::hidden(),
        }
    }

    /// Whether anyone sees it.
    pub fn is_silent(&self) -> bool {
        self.bar.is_hidden()
    }

    /// That many more are done.
    pub fn add(&self, count: u64) {
        self.bar.inc(count);
    }

    /// That many are done in all.
    pub fn set(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// How many are done.
    pub fn position(&self) -> u64 {
        self.bar.position()
    }

    /// What is going on now.
    pub fn say(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// A line that stays above the bar; goes nowhere when silent.
    pub fn note(&self, line: impl AsRef<str>) {
        self.bar.println(line);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_json_nothing_shows_but_counting_goes_on() {
        let progress = Progress::new("sends", 10, true);
        assert!(progress.is_silent());
        progress.add(3);
        progress.clone().add(4);
        assert_eq!(progress.position(), 7);
        progress.finish();
    }
}
