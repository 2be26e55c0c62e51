//! Makes logs in the form of a real IRC day, for tests that can't have the corpora.
//!
//! Invariant: the same arguments give the same log, on every machine.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const WORDS: [&str; 24] = [
    "the", "loom", "keeps", "a", "thread", "in", "its", "place", "does", "anyone", "know", "why",
    "my", "sound", "card", "hums", "żółw", "日本", "🧵", "<b>", "[09:00]", "===", "*", "ok",
];
const ODD: [&str; 4] = [
    "=== mode/#loom [+o ann]  by Serv",
    "",
    "[99:99] <ann> x",
    "what is this",
];

/// A log of exactly `lines` lines by about `people` people, some of whom join, leave, rename
/// themselves and act; it wraps past midnight and has odd lines. Empty when nobody is there.
pub fn generate(seed: u64, people: usize, lines: usize) -> String {
    let mut log = String::new();
    if people == 0 {
        return log;
    }
    let mut random = StdRng::seed_from_u64(seed);
    let mut nicks: Vec<String> = (0..people).map(|index| format!("p{index}")).collect();
    let mut minute = 23 * 60 + 30;
    for _ in 0..lines {
        minute += u32::from(random.random_bool(0.1));
        let speaker = busy_index(&mut random, people);
        log.push_str(&line(
            &mut random,
            &mut nicks,
            speaker,
            minute % super::DAY_MINUTES,
        ));
        log.push('\n');
    }
    log
}

/// A few people do most of the talking, as in every channel.
fn busy_index(random: &mut StdRng, people: usize) -> usize {
    let uniform: f64 = random.random();
    ((uniform * uniform * people as f64) as usize).min(people - 1)
}

fn line(random: &mut StdRng, nicks: &mut [String], speaker: usize, minute: u32) -> String {
    let nick = &nicks[speaker];
    let time = format!("[{:02}:{:02}]", minute / 60, minute % 60);
    match random.random_range(0..100) {
        0..8 => format!("=== {nick}  has joined #loom"),
        8..13 => format!("=== {nick}  has left #loom [\"Leaving\"] "),
        13..15 => {
            let new_nick = renamed(nick);
            let line = format!("=== {nick} is now known as {new_nick}");
            nicks[speaker] = new_nick;
            line
        }
        15..17 => ODD.choose(random).copied().unwrap_or_default().to_owned(),
        17..20 => format!("{time}  * {nick} {}", words(random)),
        _ => format!("{time} <{nick}> {}", words(random)),
    }
}

/// Away and back again, as people do.
fn renamed(nick: &str) -> String {
    match nick.strip_suffix("_away") {
        Some(back) => back.to_owned(),
        None => format!("{nick}_away"),
    }
}

fn words(random: &mut StdRng) -> String {
    let count = random.random_range(1..16);
    let words: Vec<&str> = (0..count)
        .filter_map(|_| WORDS.choose(random).copied())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irc::{Action, Day, Script};

    #[test]
    fn the_same_seed_gives_the_same_log() {
        assert_eq!(generate(7, 20, 500), generate(7, 20, 500));
        assert_ne!(generate(7, 20, 500), generate(8, 20, 500));
        assert_eq!(generate(7, 0, 500), "");
    }

    #[test]
    fn every_form_occurs() {
        let day = Day::parse(generate(1, 50, 2000).as_bytes());
        assert_eq!(day.lines.len(), 2000);
        let has = |test: fn(&Action) -> bool| day.lines.iter().any(|line| test(&line.action));
        assert!(has(|action| matches!(action, Action::Say { .. })));
        assert!(has(|action| matches!(action, Action::Act { .. })));
        assert!(has(|action| matches!(action, Action::Join { .. })));
        assert!(has(|action| matches!(action, Action::Leave { .. })));
        assert!(has(|action| matches!(action, Action::Rename { .. })));
        assert!(has(|action| matches!(action, Action::Odd(_))));
        assert!(
            day.lines
                .last()
                .is_some_and(|line| line.minute > super::super::DAY_MINUTES)
        );
        let script = Script::new(&day);
        assert!(script.users.len() >= 45 && script.founders().count() > 10);
    }
}
