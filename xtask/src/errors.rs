//! docs/errors.md, made from the comments of `enum ErrorReason`.
//!
//! Reads errors.proto line by line (buf has checked that it is well-formed protobuf); called by
//! `cargo xtask errors` and by the docs step. Invariant: each reason names its gRPC status and
//! what the caller does next, or the page is not made.

use std::fmt::Write;
use std::fs;

use crate::check::{Failure, Outcome};
use crate::repo::Repo;

const PROTO: &str = "proto/proto/heddle/v1/errors.proto";
const PAGE: &str = "docs/errors.md";
const ENUM_OPENS: &str = "enum ErrorReason {";

const HEAD: &str = "\
# Errors

Made from `proto/proto/heddle/v1/errors.proto` by `cargo xtask errors`; change it there.

Every failed call carries a `google.rpc.ErrorInfo` in its status details: `reason` is one of these
names, `domain` is `heddle.dev`. Inside a session the same reason comes in an `Error` frame, and
the stream goes on. A `google.rpc.RetryInfo` (or `retry_delay`) says when a retry makes sense.
\"The same id\" is the `client_message_id` of the call: a retry with it is never stored twice.

| number | reason | status | what it means | what to do |
|---:|---|---|---|---|
";

/// One value of the enum, as its comment explains it.
#[derive(Debug, PartialEq, Eq)]
struct Reason {
    number: u32,
    name: String,
    status: String,
    meaning: String,
    advice: String,
}

/// Writes the page.
pub fn write(repo: &Repo) -> Outcome {
    let (page, count) = render(&repo.read(PROTO)?)?;
    fs::create_dir_all(repo.path("docs"))?;
    fs::write(repo.path(PAGE), page)?;
    Ok(format!("{PAGE}: {count} reasons"))
}

/// Says whether the page is what would be written.
pub fn check(repo: &Repo) -> Outcome {
    let (page, count) = render(&repo.read(PROTO)?)?;
    if repo.read(PAGE).ok().as_ref() != Some(&page) {
        return Err(Failure::wrong(format!(
            "{PAGE} is stale; run `cargo xtask errors`"
        )));
    }
    Ok(format!("{count} error reasons"))
}

fn render(proto: &str) -> Result<(String, usize), Failure> {
    let reasons = reasons(proto)?;
    let mut page = HEAD.to_owned();
    for Reason {
        number,
        name,
        status,
        meaning,
        advice,
    } in &reasons
    {
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| {number} | `{name}` | {status} | {meaning} | {advice} |"
        );
    }
    Ok((page, reasons.len()))
}

fn reasons(proto: &str) -> Result<Vec<Reason>, Failure> {
    let mut reasons = Vec::new();
    let mut comment = String::new();
    let body = proto
        .lines()
        .enumerate()
        .skip_while(|(_, line)| line.trim() != ENUM_OPENS)
        .skip(1);
    for (index, line) in body {
        let line = line.trim();
        if line == "}" {
            break;
        } else if let Some(text) = line.strip_prefix("//") {
            comment.push_str(text.trim());
            comment.push(' ');
        } else if line.contains('=') {
            let reason = reason(line, comment.trim()).ok_or_else(|| {
                Failure::wrong(format!(
                    "{PROTO}:{}: comment it as `What it means. Status: NAME. Do: what to do.`",
                    index + 1
                ))
            })?;
            reasons.push(reason);
            comment.clear();
        }
    }
    if reasons.is_empty() {
        return Err(Failure::wrong(format!(
            "{PROTO}: no `{ENUM_OPENS}` with values"
        )));
    }
    Ok(reasons)
}

fn reason(line: &str, comment: &str) -> Option<Reason> {
    let (name, rest) = line.split_once('=')?;
    let number: String = rest
        .trim()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let (meaning, rest) = comment.split_once(" Status: ")?;
    let (status, advice) = rest.split_once(". Do: ")?;
    let complete = !meaning.is_empty() && !status.is_empty() && !advice.is_empty();
    complete.then_some(Reason {
        number: number.parse().ok()?,
        name: name.trim().to_owned(),
        status: status.to_owned(),
        meaning: meaning.replace('|', "\\|"),
        advice: advice.replace('|', "\\|"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "\
enum Other {
  // Not read.
  OTHER_A = 0;
}
enum ErrorReason {
  // Too old a | b.
  // Status: FAILED_PRECONDITION. Do: ask the user.
  ERROR_REASON_OUTBOX_EXPIRED = 7 [deprecated = true];
}
";

    #[test]
    fn a_value_becomes_a_row() {
        let (page, count) = render(EXAMPLE).unwrap();
        assert_eq!(count, 1);
        let row = "| 7 | `ERROR_REASON_OUTBOX_EXPIRED` | FAILED_PRECONDITION | Too old a \\| b. \
                   | ask the user. |\n";
        assert!(page.ends_with(row), "{page}");
    }

    #[test]
    fn a_value_that_does_not_say_what_to_do_is_refused_with_its_line() {
        let error = render(&EXAMPLE.replace(" Do: ask the user.", "")).unwrap_err();
        assert!(error.to_string().contains("errors.proto:8:"), "{error}");
        assert!(render("enum Other {\n}\n").is_err());
    }
}
