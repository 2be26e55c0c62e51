//! Rules that look at one line at a time: width, markers, unbounded queues, sleeps, foreign paths.
//!
//! Called by `tidy::survey` for each file. Invariant: pure; the same text has the same findings.

use crate::repo::SourceFile;
use crate::tidy::source::{Finding, code_of, has_word};

const WIDTH_MAX: usize = 100;

// Written in two parts, or this file would break its own rules.
const MARKERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("dbg", "!("),
];
const UNBOUNDED: &[&str] = &[
    concat!("unbounded", "_channel"),
    concat!("Unbounded", "Sender"),
    concat!("Unbounded", "Receiver"),
    concat!("un", "bounded()"),
    concat!("un", "bounded::<"),
];
const MACHINE_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const ALLOW_SLEEP: &str = "// tidy: allow-sleep ";

/// All line rules over one file.
pub fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    foreign_paths(file, findings);
    if file.is_rust() {
        width(file, findings);
        markers(file, findings);
        queues(file, findings);
        sleeps(file, findings);
    }
}

fn width(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (number, line) in file.lines() {
        let width = line.chars().count();
        if width > WIDTH_MAX {
            let advice = format!("{width} columns, at most {WIDTH_MAX}; break the line");
            findings.push(file.finding(number, advice));
        }
    }
}

fn markers(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (number, line) in file.lines() {
        if let Some(marker) = MARKERS.iter().find(|marker| line.contains(**marker)) {
            let advice = format!("{marker} left over; do it now, or open an issue and remove it");
            findings.push(file.finding(number, advice));
        }
    }
}

fn queues(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (number, line) in file.lines() {
        let code = code_of(line);
        // The standard library's `channel()` has no bound; everybody else's takes one.
        let std_channel = code.contains(concat!("mpsc::chan", "nel()"))
            || code.contains(concat!("mpsc::chan", "nel::<")) && code.contains(">()");
        if std_channel || UNBOUNDED.iter().any(|name| code.contains(name)) {
            let advice = "a queue without a bound; name a bound and what happens when it is full";
            findings.push(file.finding(number, advice));
        }
    }
}

fn sleeps(file: &SourceFile, findings: &mut Vec<Finding>) {
    let Some(start) = file.tests_start() else {
        return;
    };
    let mut before = "";
    for (number, line) in file.lines() {
        let code = code_of(line);
        let sleeps = has_word(code, "sleep") && code.contains("sleep(");
        if number >= start && sleeps && !allows_sleep(line) && !allows_sleep(before) {
            let advice = format!(
                "a test that sleeps; wait for the condition with a deadline, or say why with \
                 `{ALLOW_SLEEP}REASON`"
            );
            findings.push(file.finding(number, advice));
        }
        before = line;
    }
}

fn allows_sleep(line: &str) -> bool {
    line.split_once(ALLOW_SLEEP)
        .is_some_and(|(_, reason)| !reason.trim().is_empty())
}

fn foreign_paths(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (number, line) in file.lines() {
        let is_absolute =
            |(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.');
        if MACHINE_PATHS
            .iter()
            .any(|path| line.match_indices(path).any(is_absolute))
        {
            let advice =
                "a path of one machine; make it relative, configured, or a temporary directory";
            findings.push(file.finding(number, advice));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(path: &str, text: &str) -> Vec<(usize, String)> {
        let file = SourceFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut findings = Vec::new();
        check(&file, &mut findings);
        findings
            .into_iter()
            .map(|finding| (finding.line, finding.advice))
            .collect()
    }

    fn lines_found(path: &str, text: &str) -> Vec<usize> {
        advice(path, text)
            .into_iter()
            .map(|(line, _)| line)
            .collect()
    }

    #[test]
    fn a_line_may_have_100_characters_of_any_width() {
        let exact = "é".repeat(100);
        assert!(lines_found("a/src/a.rs", &exact).is_empty());
        assert_eq!(lines_found("a/src/a.rs", &format!("\n{exact}x")), [2]);
        assert!(lines_found("README.md", &format!("{exact}x")).is_empty());
    }

    #[test]
    fn markers_are_found_in_comments_too() {
        assert_eq!(
            lines_found("a/src/a.rs", concat!("//! A.\n// TO", "DO: later")),
            [2]
        );
        assert_eq!(lines_found("a/src/a.rs", concat!("dbg", "!(x);")), [1]);
    }

    #[test]
    fn queues_have_bounds() {
        for code in [
            concat!("mpsc::un", "bounded_channel();"),
            concat!("channel::un", "bounded();"),
            concat!("let (a, b) = mpsc::chan", "nel();"),
            concat!("let (a, b) = mpsc::chan", "nel::<u8>();"),
        ] {
            assert_eq!(lines_found("a/src/a.rs", code), [1], "{code}");
        }
        for code in [
            "mpsc::channel(64);",
            "mpsc::channel::<()>(64);",
            "// never unbounded()",
        ] {
            assert!(lines_found("a/src/a.rs", code).is_empty(), "{code}");
        }
    }

    #[test]
    fn only_tests_may_not_sleep_and_only_without_a_reason() {
        let sleep = concat!("time::sle", "ep(TICK).await;");
        assert!(lines_found("kit/src/a.rs", sleep).is_empty());
        assert_eq!(lines_found("e2e/src/a.rs", sleep), [1]);
        let tests = format!("{sleep}\n#[cfg(test)]\nmod tests {{\n{sleep}\n}}");
        assert_eq!(lines_found("kit/src/a.rs", &tests), [4]);
        for allowed in [
            format!("{sleep} {ALLOW_SLEEP}polls the port"),
            format!("{ALLOW_SLEEP}polls the port\n{sleep}"),
        ] {
            assert!(lines_found("e2e/src/a.rs", &allowed).is_empty());
        }
        assert_eq!(
            lines_found("e2e/src/a.rs", &format!("{sleep} {ALLOW_SLEEP}")),
            [1]
        );
    }

    #[test]
    fn paths_of_one_machine_are_found_in_any_text() {
        assert_eq!(lines_found("docs/a.md", concat!("see /wo", "rk/main")), [1]);
        assert!(lines_found("docs/a.md", concat!("a network/wo", "rk/split")).is_empty());
    }
}
