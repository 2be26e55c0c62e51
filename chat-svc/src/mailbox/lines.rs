//! Lines: under which owners a mailbox grew, and whether a resume token lies on its history (P5).
//!
//! [`super::Mailbox`] asks as a device attaches. A token names a position and the nonce of the
//! owner that committed it; after a copy of the store was restored, the same position is on another
//! line.
//!
//! Invariant: lines are in the order of their first positions, and at most the last 64 are kept.

use heddle_proto::{
    internal::LogLine,
    v1::{Cursor, ResumeOutcome},
};

/// Lines kept; a token from before them is answered with a reset.
pub const LINES_MAX: usize = 64;

/// The owners of a mailbox, oldest first.
#[derive(Debug, Default, Clone)]
pub struct Lines(Vec<LogLine>);

impl Lines {
    /// As stored.
    pub fn from_rows(rows: Vec<LogLine>) -> Self {
        Self(rows)
    }

    /// To be stored.
    pub fn to_rows(&self) -> Vec<LogLine> {
        self.0.clone()
    }

    /// Notes that `position` was written under `nonce`.
    pub fn extend(&mut self, nonce: u64, position: u64) {
        if self.0.last().is_some_and(|line| line.nonce == nonce) {
            return;
        }
        self.0.push(LogLine {
            nonce,
            first_seq: position,
        });
        if self.0.len() > LINES_MAX {
            self.0.remove(0);
        }
    }

    /// The nonce under which a position was written, where that is still known.
    pub fn nonce_at(&self, position: u64) -> Option<u64> {
        let line = self
            .0
            .iter()
            .rev()
            .find(|line| line.first_seq <= position)?;
        Some(line.nonce)
    }

    /// What becomes of a token, given the committed head and what has expired.
    pub fn judge(&self, token: Option<&Cursor>, head: u64, base: u64) -> ResumeOutcome {
        let Some(token) = token else {
            return ResumeOutcome::Fresh;
        };
        let known = match token.position {
            0 => base == 0,
            position if position > head || position < base => false,
            position => self.nonce_at(position) == Some(token.nonce),
        };
        if known {
            ResumeOutcome::Resumed
        } else {
            ResumeOutcome::Reset
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(lines: &[(u64, u64)], token: (u64, u64), head: u64) -> ResumeOutcome {
        let mut kept = Lines::default();
        for (nonce, position) in lines {
            kept.extend(*nonce, *position);
        }
        let token = Cursor {
            position: token.0,
            nonce: token.1,
        };
        kept.judge(Some(&token), head, 0)
    }

    #[test]
    fn a_token_of_the_same_line_goes_on() {
        assert_eq!(
            judge(&[(7, 1), (8, 51)], (50, 7), 90),
            ResumeOutcome::Resumed
        );
        assert_eq!(
            judge(&[(7, 1), (8, 51)], (90, 8), 90),
            ResumeOutcome::Resumed
        );
        assert_eq!(judge(&[], (0, 0), 0), ResumeOutcome::Resumed);
    }

    #[test]
    fn a_token_past_the_head_is_reset() {
        assert_eq!(judge(&[(7, 1)], (91, 7), 90), ResumeOutcome::Reset);
    }

    #[test]
    fn a_line_that_ended_earlier_is_reset_even_after_the_head_has_passed() {
        // A copy was taken at 50 and restored; the token stems from what came after 50 back then.
        assert_eq!(judge(&[(7, 1), (8, 51)], (60, 7), 90), ResumeOutcome::Reset);
    }

    #[test]
    fn an_unknown_nonce_is_reset() {
        assert_eq!(judge(&[(7, 1)], (60, 9), 90), ResumeOutcome::Reset);
    }

    #[test]
    fn an_expired_position_is_reset() {
        let mut lines = Lines::default();
        lines.extend(7, 1);
        let token = Cursor {
            position: 9,
            nonce: 7,
        };
        assert_eq!(lines.judge(Some(&token), 90, 10), ResumeOutcome::Reset);
    }
}
