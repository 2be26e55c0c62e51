//! What the documentation claims, held against the tree: rustdoc, file names, pages that are made,
//! planted bugs.
//!
//! The `docs` step of `suite`. Invariant: a file named in backticks in one of [`PAGES`] exists, so
//! that the map of the house stays true when files move.

use crate::check::{Failure, Outcome};
use crate::command;
use crate::errors;
use crate::plant;
use crate::repo::{Repo, SourceFile};
use crate::settings;
use crate::tools;

/// Pages that name files of the tree. All of them have to be there.
const PAGES: &[&str] = &[
    "ARCHITECTURE.md",
    "README.md",
    "CONTRIBUTING.md",
    "docs/capacity.md",
    "docs/operations.md",
    "k8s/README.md",
];

/// What ends a name that can only be a file of ours.
const SUFFIXES: &[&str] = &[".rs", ".proto", ".toml", ".md", ".yaml"];

/// Checks pages first, since they take no time, then builds the API documentation.
pub fn check(repo: &Repo) -> Outcome {
    let pages = pages(repo);
    let errors = errors::check(repo);
    let settings = settings::check(repo);
    let plants = plant::check(repo);
    let mut cargo = tools::cargo();
    // Private items too: a module's prose names its neighbours, whoever may call them.
    cargo.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    // So links to them resolve here, and there is no other rendering in which they would break.
    let lints = "-D warnings -A rustdoc::private-intra-doc-links";
    cargo.env("RUSTDOCFLAGS", lints);
    command::run(&mut cargo)?;
    Ok(format!(
        "{}, {}, {}, {}",
        pages?, errors?, settings?, plants?
    ))
}

fn pages(repo: &Repo) -> Outcome {
    let files = repo.files()?;
    let mut named = 0;
    let mut wrong = Vec::new();
    for page in PAGES {
        let Some(file) = files.iter().find(|file| file.path == *page) else {
            wrong.push(format!("{page} is missing; write it"));
            continue;
        };
        for (line, name) in file_names(file, &files) {
            named += 1;
            if !exists(&name, &files) {
                wrong.push(format!(
                    "{page}:{line}: there is no `{name}`; correct the page"
                ));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(format!("{named} file names"));
    }
    for finding in &wrong {
        println!("{finding}");
    }
    Err(Failure::wrong(format!(
        "{} wrong in the pages: {}",
        wrong.len(),
        wrong[0]
    )))
}

/// Words in backticks that mean a file or directory, with their lines.
fn file_names(page: &SourceFile, files: &[SourceFile]) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let mut in_block = false;
    for (number, line) in page.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        if in_block {
            continue;
        }
        let quoted = line.split('`').skip(1).step_by(2);
        names.extend(quoted.filter(|word| is_file_name(word, files)).map(|word| {
            let name = word.split([':', '#']).next().unwrap_or(word);
            (number, name.trim_start_matches("./").to_owned())
        }));
    }
    names
}

fn is_file_name(word: &str, files: &[SourceFile]) -> bool {
    let name = word
        .split([':', '#'])
        .next()
        .unwrap_or(word)
        .trim_start_matches("./");
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let Some((top, rest)) = name.split_once('/') else {
        return name.chars().all(plain) && SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    };
    let is_ours = files
        .iter()
        .any(|file| file.path.starts_with(&format!("{top}/")));
    let has_suffix = SUFFIXES.iter().any(|suffix| rest.ends_with(suffix));
    name.chars().all(plain) && !top.is_empty() && (is_ours || has_suffix)
}

/// A name with a directory counts from the root; a bare one may stand anywhere.
fn exists(name: &str, files: &[SourceFile]) -> bool {
    let directory = format!("{}/", name.trim_end_matches('/'));
    files.iter().any(|SourceFile { path, .. }| {
        path == name
            || path.starts_with(&directory)
            || !name.contains('/') && path.ends_with(&format!("/{name}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Vec<SourceFile> {
        ["chat-svc/src/shard.rs", "buf.yaml"]
            .map(|path| SourceFile {
                path: path.to_owned(),
                text: String::new(),
            })
            .into()
    }

    fn unknown(text: &str) -> Vec<String> {
        let page = SourceFile {
            path: "ARCHITECTURE.md".to_owned(),
            text: text.to_owned(),
        };
        let names = file_names(&page, &tree());
        names
            .into_iter()
            .map(|(_, name)| name)
            .filter(|name| !exists(name, &tree()))
            .collect()
    }

    #[test]
    fn names_of_files_that_are_there_pass() {
        let text =
            "`chat-svc/src/shard.rs:12`, `chat-svc/`, `chat-svc/src`, `shard.rs`, `./buf.yaml`";
        assert!(unknown(text).is_empty());
    }

    #[test]
    fn names_of_files_that_moved_are_found() {
        let text = "`chat-svc/src/queue.rs` and `gone.rs` and `old-svc/src/lib.rs`";
        assert_eq!(
            unknown(text),
            ["chat-svc/src/queue.rs", "gone.rs", "old-svc/src/lib.rs"]
        );
    }

    #[test]
    fn other_words_in_backticks_are_not_files() {
        let text =
            "`Result<A, B>`, `application/grpc`, `--data DIR`, `kit::run`\n```\n`gone.rs`\n```";
        assert!(unknown(text).is_empty());
    }
}
