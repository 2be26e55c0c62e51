//! What the rules ask of a text: is it Rust, is it a test, what of a line is code.
//!
//! Rules read [`SourceFile`]s only through here. A scanner of lines, not a parser: it relies on
//! rustfmt, which the `fmt` step has checked, and on tests standing at the end of a file.

use crate::repo::SourceFile;

/// Something to mend: where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Relative to the checkout.
    pub path: String,
    /// From 1; 0 when it is the file as a whole.
    pub line: usize,
    /// What is wrong and what to do.
    pub advice: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line.max(1), self.advice)
    }
}

impl SourceFile {
    /// A finding at a line of this file.
    pub fn finding(&self, line: usize, advice: impl Into<String>) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            advice: advice.into(),
        }
    }

    /// Rust written by hand.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs") && !self.text.starts_with("// @generated")
    }

    /// The top directory: which crate the file belongs to.
    pub fn top(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Lines with their numbers from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    /// The first line that is test code, if any is.
    pub fn tests_start(&self) -> Option<usize> {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        if name == "tests.rs" || self.path.contains("/tests/") || self.top() == "e2e" {
            return Some(1);
        }
        let mut lines = self.lines().peekable();
        while let Some((number, line)) = lines.next() {
            let opens_module = |(_, next): &(usize, &str)| {
                next.trim_start().starts_with("mod ") && next.ends_with('{')
            };
            if line.trim() == "#[cfg(test)]" && lines.peek().is_some_and(opens_module) {
                return Some(number);
            }
        }
        None
    }
}

/// The line without its `//` comment. A `//` inside a string ends the line too, unless it follows a
/// colon as in a URL; rules that look for calls lose nothing by it.
pub fn code_of(line: &str) -> &str {
    let mut from = 0;
    while let Some(found) = line[from..].find("//") {
        let at = from + found;
        if !line[..at].ends_with(':') {
            return &line[..at];
        }
        from = at + 2;
    }
    line
}

/// True when `name` stands in `code` as a word of its own.
pub fn has_word(code: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(name).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + name.len()..].starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_not_code_but_urls_are_kept() {
        assert_eq!(code_of("send(); // then wait"), "send(); ");
        assert_eq!(code_of("/// prose"), "");
        assert_eq!(
            code_of("let url = \"http://host\";"),
            "let url = \"http://host\";"
        );
    }

    #[test]
    fn a_word_is_not_a_part_of_a_word() {
        assert!(has_word("use keyspace::Open;", "keyspace"));
        assert!(!has_word("let keyspaces = 1;", "keyspace"));
        assert!(has_word("(keyspace)", "keyspace"));
    }

    #[test]
    fn tests_start_at_their_module() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n}\n".to_owned();
        let file = SourceFile {
            path: "kit/src/clock.rs".to_owned(),
            text,
        };
        assert_eq!(file.tests_start(), Some(3));
        let text = "#[cfg(test)]\nmod tests;\nfn a() {}\n".to_owned();
        assert_eq!(
            SourceFile {
                path: "kit/src/lib.rs".to_owned(),
                text
            }
            .tests_start(),
            None
        );
        let text = String::new();
        assert_eq!(
            SourceFile {
                path: "e2e/src/lib.rs".to_owned(),
                text
            }
            .tests_start(),
            Some(1)
        );
    }
}
