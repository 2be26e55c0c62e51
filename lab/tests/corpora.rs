//! Real days, where they are at hand: `HEDDLE_CORPORA=DIR` names the directory that holds
//! `ubuntu-irc/`. Never part of the project, so the test says loudly when it has nothing to read.

use std::path::PathBuf;

use heddle_lab::irc::{Action, Day, Script, What};

fn days() -> Vec<(PathBuf, Vec<u8>)> {
    let Some(corpora) = std::env::var_os("HEDDLE_CORPORA") else {
        eprintln!("SKIPPED: HEDDLE_CORPORA is not set, no real day is read");
        return Vec::new();
    };
    let dir = PathBuf::from(corpora).join("ubuntu-irc");
    let files =
        std::fs::read_dir(&dir).unwrap_or_else(|cause| panic!("{}: {cause}", dir.display()));
    let paths = files.flatten().map(|file| file.path());
    let logs = paths.filter(|path| path.extension().is_some_and(|kind| kind == "txt"));
    logs.map(|path| match std::fs::read(&path) {
        Ok(bytes) => (path, bytes),
        Err(cause) => panic!("{}: {cause}", path.display()),
    })
    .collect()
}

/// Counted by the plainest means, so that the parser does not judge itself.
fn count(text: &str, test: impl Fn(&str) -> bool) -> usize {
    text.lines().filter(|line| test(line)).count()
}

#[test]
fn every_line_of_a_real_day_is_accounted_for() {
    for (path, bytes) in days() {
        let (day, text) = (Day::parse(&bytes), String::from_utf8(bytes).unwrap());
        assert_eq!(day.lines.len(), text.lines().count());
        let said = count(&text, |line| {
            line.get(7..)
                .is_some_and(|rest| rest.starts_with(" <") || rest.starts_with("  * "))
        });
        let understood = count(&text, |line| {
            match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["===", _, "has", "joined" | "left", channel, ..] => channel.starts_with('#'),
                ["===", _, "is", "now", "known", "as", _] => true,
                _ => false,
            }
        });
        let script = Script::new(&day);
        let messages = script
            .steps
            .iter()
            .filter(|step| step.what.text().is_some())
            .count();
        assert_eq!(messages, said, "{}", path.display());
        assert_eq!(script.message_count(), said);
        assert_eq!(day.odd_count(), day.lines.len() - said - understood);
        let joins = script
            .steps
            .iter()
            .filter(|step| matches!(step.what, What::Join { .. }))
            .count();
        println!(
            "{}: {} lines, {} users, {} founders, {messages} messages, {joins} joins, {:?}",
            path.display(),
            day.lines.len(),
            script.users.len(),
            script.founders().count(),
            script.skipped
        );
    }
}

#[test]
fn texts_are_the_files_to_the_byte() {
    for (path, bytes) in days() {
        let text = String::from_utf8(bytes).unwrap();
        for (line, parsed) in text.lines().zip(&Day::parse(text.as_bytes()).lines) {
            match &parsed.action {
                Action::Say { nick, text } => {
                    assert!(
                        line.ends_with(&format!("<{nick}> {text}")),
                        "{}",
                        path.display()
                    );
                }
                Action::Act { nick, text } => assert!(line.ends_with(&format!("* {nick} {text}"))),
                _ => {}
            }
        }
    }
}
