//! IRC days: real talk of hundreds of people, as input for replays.
//!
//! `Day` is the file as written, [`script`] turns it into users and steps, and [`mod@generate`]
//! makes logs of the same form for tests. Knows nothing of gRPC; the replay drives sessions from a
//! script.
//!
//! Invariant: every line of the file is one `Line`. What is not understood is `Odd`, kept and
//! counted, so that a replay's counts always add up to the file's.

mod generate;
pub mod script;

pub use generate::generate;
pub use script::{Script, Step, User, What};

/// Minutes in a day.
const DAY_MINUTES: u32 = 24 * 60;

/// One log file, in the order of its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Every line of the file; the line with number n is `lines[n - 1]`.
    pub lines: Vec<Line>,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Minutes since the midnight before the first line; never goes back, also past midnight.
    pub minute: u32,
    /// What happened.
    pub action: Action,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `[HH:MM] <nick> text`.
    Say { nick: String, text: String },
    /// `[HH:MM]  * nick text`, with or without the time.
    Act { nick: String, text: String },
    /// `=== nick has joined #channel`.
    Join { nick: String },
    /// `=== nick has left #channel [reason]`.
    Leave { nick: String },
    /// `=== nick is now known as new_nick`.
    Rename { nick: String, new_nick: String },
    /// Anything else, as text (bytes that are not UTF-8 are replaced).
    Odd(String),
}

impl Day {
    /// Reads a log. Never fails: a line that fits no form is `Odd`.
    pub fn parse(bytes: &[u8]) -> Day {
        let mut clock = Clock::default();
        let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if body.is_empty() {
            return Day::default();
        }
        let lines = body.split(|&byte| byte == b'\n').map(|line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let (time, action) = match std::str::from_utf8(line) {
                Ok(text) => parse_line(text),
                Err(_) => (
                    None,
                    Action::Odd(String::from_utf8_lossy(line).into_owned()),
                ),
            };
            Line {
                minute: clock.read(time),
                action,
            }
        });
        Day {
            lines: lines.collect(),
        }
    }

    /// How many lines fit no form.
    pub fn odd_count(&self) -> usize {
        self.lines
            .iter()
            .filter(|line| matches!(line.action, Action::Odd(_)))
            .count()
    }
}

/// Turns times of day into minutes that only go up.
#[derive(Default)]
struct Clock {
    minute: u32,
    started: bool,
}

impl Clock {
    /// A time that is far behind the last one is the next day's; a little behind is jitter.
    fn read(&mut self, time_of_day: Option<u32>) -> u32 {
        let Some(time) = time_of_day else {
            return self.minute;
        };
        let last = self.minute % DAY_MINUTES;
        let midnight = self.minute - last;
        if !self.started || time >= last {
            self.minute = midnight + time;
        } else if last - time > DAY_MINUTES / 2 {
            self.minute = midnight + DAY_MINUTES + time;
        }
        self.started = true;
        self.minute
    }
}

fn parse_line(line: &str) -> (Option<u32>, Action) {
    let odd = || Action::Odd(line.to_owned());
    if let Some(notice) = line.strip_prefix("=== ") {
        return (None, parse_notice(notice).unwrap_or_else(odd));
    }
    match split_time(line) {
        Some((time, rest)) => match parse_said(rest).or_else(|| parse_act(rest)) {
            Some(action) => (Some(time), action),
            None => (Some(time), odd()),
        },
        None => (None, parse_act(line).unwrap_or_else(odd)),
    }
}

/// `[HH:MM] rest` as minutes of the day and the rest, its first space removed.
fn split_time(line: &str) -> Option<(u32, &str)> {
    let (time, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let (hours, minutes) = time.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some((hours * 60 + minutes, rest))
}

fn parse_said(rest: &str) -> Option<Action> {
    let (nick, text) = rest.strip_prefix('<')?.split_once('>')?;
    let text = text.strip_prefix(' ').unwrap_or(text);
    is_nick(nick).then(|| Action::Say {
        nick: nick.to_owned(),
        text: text.to_owned(),
    })
}

fn parse_act(rest: &str) -> Option<Action> {
    let act = rest.trim_start_matches(' ').strip_prefix("* ")?;
    let (nick, text) = act.split_once(' ').unwrap_or((act, ""));
    is_nick(nick).then(|| Action::Act {
        nick: nick.to_owned(),
        text: text.to_owned(),
    })
}

fn parse_notice(notice: &str) -> Option<Action> {
    let (nick, what) = notice.split_once(' ')?;
    if !is_nick(nick) {
        return None;
    }
    let (nick, what) = (nick.to_owned(), what.trim_start_matches(' '));
    if what.starts_with("has joined #") {
        Some(Action::Join { nick })
    } else if what.starts_with("has left #") {
        Some(Action::Leave { nick })
    } else {
        let new_nick = what.strip_prefix("is now known as ")?.trim_end().to_owned();
        is_nick(&new_nick).then_some(Action::Rename { nick, new_nick })
    }
}

fn is_nick(nick: &str) -> bool {
    !nick.is_empty() && !nick.contains(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(line: &str) -> Action {
        let mut day = Day::parse(line.as_bytes());
        assert_eq!(day.lines.len(), 1);
        day.lines.remove(0).action
    }

    #[test]
    fn each_form_is_read() {
        let (nick, text) = ("ann".to_owned(), "x >  y ".to_owned());
        assert_eq!(one("[09:03] <ann> x >  y "), Action::Say { nick, text });
        let (nick, text) = ("ann".to_owned(), "waves at <bob> ".to_owned());
        assert_eq!(
            one("[04:48]  * ann waves at <bob> "),
            Action::Act {
                nick: nick.clone(),
                text: text.clone()
            }
        );
        assert_eq!(
            one("* ann waves at <bob> "),
            Action::Act {
                nick: nick.clone(),
                text
            }
        );
        assert_eq!(
            one("=== ann  has joined #Some"),
            Action::Join { nick: nick.clone() }
        );
        assert_eq!(
            one("=== ann  has left #some [\"Bye] "),
            Action::Leave { nick: nick.clone() }
        );
        let new_nick = "ann_".to_owned();
        assert_eq!(
            one("=== ann is now known as ann_"),
            Action::Rename { nick, new_nick }
        );
    }

    #[test]
    fn text_of_spaces_and_empty_text_are_kept() {
        let text_of = |line| match one(line) {
            Action::Say { text, .. } => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text_of("[09:15] <ann>    "), "   ");
        assert_eq!(text_of("[09:15] <ann> "), "");
        assert_eq!(text_of("[09:15] <ann>"), "");
    }

    #[test]
    fn what_fits_no_form_is_odd_and_counted() {
        let log = b"=== mode/#some [+o ann]  by Serv\n\n[25:00] <a> b\n[09:00] what\n\
                    [09:01] <a> \xff\n[09:02] <a> fine\n=== ann is now known as \n";
        let day = Day::parse(log);
        assert_eq!((day.lines.len(), day.odd_count()), (7, 6));
        assert_eq!(day.lines[6].minute, 9 * 60 + 2);
    }

    #[test]
    fn times_wrap_at_midnight_and_never_go_back() {
        let log = "[23:59] <a> x\n=== b has joined #c\n[00:01] <a> y\n[00:00] <a> z\n\
                   [23:58] <a> u\n\
                   [00:02] <a> v\n";
        let minutes: Vec<_> = Day::parse(log.as_bytes())
            .lines
            .iter()
            .map(|l| l.minute)
            .collect();
        let day = DAY_MINUTES;
        assert_eq!(
            minutes,
            [1439, 1439, day + 1, day + 1, day + 1438, 2 * day + 2]
        );
    }

    proptest! {
        /// No input is refused, and no line gets lost.
        #[test]
        fn every_line_is_one_line(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let day = Day::parse(&bytes);
            let body = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let expected = if body.is_empty() { 0 } else { body.split(|b| *b == b'\n').count() };
            prop_assert_eq!(day.lines.len(), expected);
            prop_assert!(day.lines.windows(2).all(|pair| pair[0].minute <= pair[1].minute));
        }
    }
}
