//! Counts tests from what `cargo test` prints.
//!
//! Each test binary ends with one `test result:` line; a suite is their sum. Pure: `steps` feeds it
//! lines. Invariant: a line that is not a summary changes nothing.

use std::ops::AddAssign;

/// How many tests there were, summed over test binaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Ran, and held.
    pub passed: u64,
    /// Ran, and did not hold.
    pub failed: u64,
    /// Not run.
    pub ignored: u64,
}

impl Tally {
    /// Takes one line of output in.
    pub fn take(&mut self, line: &str) {
        if let Some(summary) = Self::of_summary(line) {
            *self += summary;
        }
    }

    /// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; ...`
    fn of_summary(line: &str) -> Option<Self> {
        let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut tally = Self::default();
        for count in counts.split("; ") {
            let (number, what) = count.split_once(' ')?;
            let field = match what {
                "passed" => &mut tally.passed,
                "failed" => &mut tally.failed,
                "ignored" => &mut tally.ignored,
                _ => continue,
            };
            *field = number.parse().ok()?;
        }
        Some(tally)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_several_binaries_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test marks::reading_implies_having_received ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; \
             finished in 0.01s",
            "test result: FAILED. 2 passed; 5 failed; 0 ignored; 0 measured; 7 filtered out; \
             finished in 1.20s",
            "",
        ] {
            tally.take(line);
        }
        assert_eq!(
            tally,
            Tally {
                passed: 5,
                failed: 5,
                ignored: 1
            }
        );
    }

    #[test]
    fn what_only_looks_like_a_summary_counts_nothing() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok",
            "  test result: ok. 9 passed",
            "test result: ok. many passed",
        ] {
            tally.take(line);
        }
        assert_eq!(tally, Tally::default());
    }
}
