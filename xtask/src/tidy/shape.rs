//! Rules on the shape of a file: how long it is, how it opens, how long its functions are.
//!
//! Called by `tidy::survey` for each file. Functions are found by indentation, which rustfmt
//! guarantees. Invariant: pure; a hard limit is a finding, a soft one a warning.

use crate::repo::SourceFile;
use crate::tidy::source::Finding;

const FILE_LINES_MAX: usize = 500;
const FILE_LINES_USUAL_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
const SERVICE_MAIN_LINES_MAX: usize = 20;

/// What must be mended.
pub fn check(file: &SourceFile, findings: &mut Vec<Finding>) {
    let length = file.lines().count();
    if is_code(file) && length > FILE_LINES_MAX {
        let advice = format!("{length} lines, at most {FILE_LINES_MAX}; split it by what it does");
        findings.push(file.finding(0, advice));
    }
    if !file.is_rust() {
        return;
    }
    if is_service_main(file) && length > SERVICE_MAIN_LINES_MAX {
        let advice = format!(
            "{length} lines; a service's main is at most {SERVICE_MAIN_LINES_MAX}: move it to \
             the library"
        );
        findings.push(file.finding(0, advice));
    }
    if file.path.contains("/src/") && !opens_with_prose(file) {
        let advice = "open the module with `//!`: its job, its neighbours, its invariant";
        findings.push(file.finding(1, advice));
    }
    for (line, length) in functions(&file.text) {
        if length > FUNCTION_LINES_MAX {
            let advice =
                format!("a function of {length} lines, at most {FUNCTION_LINES_MAX}; split it");
            findings.push(file.finding(line, advice));
        }
    }
}

/// What should be mended, and may stay for a reason.
pub fn warn(file: &SourceFile, warnings: &mut Vec<Finding>) {
    let length = file.lines().count();
    if is_code(file) && (FILE_LINES_USUAL_MAX + 1..=FILE_LINES_MAX).contains(&length) {
        let advice = format!("{length} lines, usually at most {FILE_LINES_USUAL_MAX}");
        warnings.push(file.finding(0, advice));
    }
}

fn is_code(file: &SourceFile) -> bool {
    file.is_rust() || file.path.ends_with(".proto")
}

fn is_service_main(file: &SourceFile) -> bool {
    file.path.ends_with("-svc/src/main.rs") || file.path == "gateway/src/main.rs"
}

fn opens_with_prose(file: &SourceFile) -> bool {
    file.text
        .lines()
        .find(|line| !line.trim().is_empty())
        .is_some_and(|line| line.starts_with("//!"))
}

/// First line and number of lines of each function with a body.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if opens_function(code) && !code.ends_with(['}', ';']) {
            open.push((indent, index));
        } else if let Some(&(opened, first)) = open.last()
            && indent == opened
        {
            let closes = code == "}";
            if closes {
                found.push((first + 1, index - first + 1));
            }
            // `;` at this depth ends a signature without a body, as in a trait.
            if closes || code.ends_with(';') {
                open.pop();
            }
        }
    }
    found
}

fn opens_function(code: &str) -> bool {
    let Some((before, _)) = code.split_once("fn ") else {
        return false;
    };
    before.split_whitespace().all(|word| {
        matches!(
            word,
            "const" | "async" | "unsafe" | "extern" | "\"C\"" | "pub"
        ) || word.starts_with("pub(")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, lines: usize) -> SourceFile {
        SourceFile {
            path: path.to_owned(),
            text: "//! Prose.\n".repeat(lines),
        }
    }

    fn counts(file: &SourceFile) -> (usize, usize) {
        let (mut findings, mut warnings) = (Vec::new(), Vec::new());
        check(file, &mut findings);
        warn(file, &mut warnings);
        (findings.len(), warnings.len())
    }

    #[test]
    fn length_has_a_soft_and_a_hard_limit() {
        assert_eq!(counts(&file("kit/src/a.rs", 400)), (0, 0));
        assert_eq!(counts(&file("kit/src/a.rs", 401)), (0, 1));
        assert_eq!(counts(&file("kit/src/a.rs", 500)), (0, 1));
        assert_eq!(counts(&file("kit/src/a.rs", 501)), (1, 0));
        assert_eq!(counts(&file("proto/proto/a.proto", 501)), (1, 0));
        assert_eq!(counts(&file("docs/a.md", 501)), (0, 0));
    }

    #[test]
    fn a_function_fits_a_screen() {
        let text =
            |lines: usize| format!("//! Prose.\nfn f() {{\n{}}}\n", "    g();\n".repeat(lines));
        let counts_of = |lines: usize| {
            let path = "kit/src/a.rs".to_owned();
            counts(&SourceFile {
                path,
                text: text(lines),
            })
        };
        assert_eq!(counts_of(68), (0, 0));
        assert_eq!(counts_of(69), (1, 0));
    }

    #[test]
    fn a_service_main_is_short() {
        assert_eq!(counts(&file("chat-svc/src/main.rs", 20)), (0, 0));
        assert_eq!(counts(&file("chat-svc/src/main.rs", 21)), (1, 0));
        assert_eq!(counts(&file("heddle/src/main.rs", 21)), (0, 0));
    }

    #[test]
    fn a_module_opens_with_prose_unless_it_is_generated() {
        let text = "use std::io;\n".to_owned();
        assert_eq!(
            counts(&SourceFile {
                path: "kit/src/a.rs".to_owned(),
                text
            }),
            (1, 0)
        );
        let text = "// @generated\nuse std::io;\n".to_owned();
        assert_eq!(
            counts(&SourceFile {
                path: "kit/src/a.rs".to_owned(),
                text
            }),
            (0, 0)
        );
    }

    #[test]
    fn functions_are_measured_from_signature_to_brace() {
        let text = "\
fn one() {}

pub(crate) async fn wraps(
    first: u8,
) -> u8 {
    if first > 1 {
        fn inner() {
        }
    }
    first
}

trait Store {
    fn no_body(&self);
    fn long_signature(
        &self,
    );
    fn body(&self) {
    }
}
";
        assert_eq!(functions(text), [(7, 2), (3, 9), (18, 2)]);
    }
}
