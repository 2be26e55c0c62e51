//! The person's side: lines in, lines out, the prompt between.
//!
//! Two threads, since a terminal blocks: one reads lines with an editor that lets others print
//! above the line being typed, one prints. `super` talks to both through bounded queues; the
//! reading thread gets the prompt for the next line with the answer to the last one.
//!
//! Without a terminal (input from a pipe) lines are read and printed plainly.

use crate::failure::{Failure, Outcome};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, ExternalPrinter, Helper};
use std::io::{IsTerminal, Write};
use tokio::sync::mpsc;

/// Lines that wait to be printed; the chat waits when there are more.
const PRINT_LEN_MAX: usize = 256;
/// Inputs that wait to be handled; further typing hints are dropped, lines wait.
const INPUT_LEN_MAX: usize = 16;

/// What the person does.
#[derive(Debug)]
pub(super) enum Input {
    /// A whole line.
    Line(String),
    /// Typing, of something that is not a command.
    Typing,
    /// No more.
    End,
}

/// Both directions.
pub(super) struct Terminal {
    input: mpsc::Receiver<Input>,
    prompts: mpsc::Sender<String>,
    output: mpsc::Sender<String>,
    is_person: bool,
}

impl Terminal {
    /// Takes stdin and stdout. Nothing is read before the first prompt is given.
    pub(super) fn open() -> Outcome<Self> {
        let (inputs, input) = mpsc::channel(INPUT_LEN_MAX);
        let (output, lines) = mpsc::channel(PRINT_LEN_MAX);
        let (prompts, prompt) = mpsc::channel(1);
        let config = Config::builder().auto_add_history(true).build();
        let cannot = |error| Failure::new(format!("the terminal cannot be used: {error}"));
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history).map_err(cannot)?;
        editor.set_helper(Some(Watcher(inputs.clone())));
        let printer = editor.create_external_printer().ok();
        std::thread::spawn(move || print(lines, printer));
        std::thread::spawn(move || read(&mut editor, &inputs, prompt));
        let is_person = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        Ok(Self {
            input,
            prompts,
            output,
            is_person,
        })
    }

    /// Whether lines are typed here rather than piped in.
    pub(super) fn is_person(&self) -> bool {
        self.is_person
    }

    /// The next input. Safe to cancel.
    pub(super) async fn next(&mut self) -> Input {
        self.input.recv().await.unwrap_or(Input::End)
    }

    /// Asks for the next line.
    pub(super) async fn prompt(&self, prompt: String) {
        // The reading thread is gone when the input has ended.
        let _ = self.prompts.send(prompt).await;
    }

    /// Shows a line above the prompt.
    pub(super) async fn show(&self, line: impl Into<String>) {
        let line = line.into();
        let line = if self.is_person {
            line
        } else {
            colourless(&line)
        };
        let _ = self.output.send(line).await;
    }
}

/// A line without the sequences that colour it.
fn colourless(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

type ChatEditor = Editor<Watcher, MemHistory>;

fn read(editor: &mut ChatEditor, inputs: &mpsc::Sender<Input>, mut prompt: mpsc::Receiver<String>) {
    while let Some(prompt) = prompt.blocking_recv() {
        let input = match editor.readline(&prompt) {
            Ok(line) => Input::Line(line),
            Err(ReadlineError::Signal(_)) => Input::Line(String::new()),
            Err(_) => Input::End,
        };
        let is_end = matches!(input, Input::End);
        if inputs.blocking_send(input).is_err() || is_end {
            return;
        }
    }
}

fn print(mut lines: mpsc::Receiver<String>, mut printer: Option<impl ExternalPrinter>) {
    while let Some(line) = lines.blocking_recv() {
        let line = line + "\n";
        let printed = match &mut printer {
            Some(printer) => printer.print(line).is_ok(),
            None => {
                let mut stdout = std::io::stdout();
                stdout
                    .write_all(line.as_bytes())
                    .and_then(|()| stdout.flush())
                    .is_ok()
            }
        };
        if !printed {
            return;
        }
    }
}

/// Sees each keystroke, by being asked for hints.
struct Watcher(mpsc::Sender<Input>);

impl Hinter for Watcher {
    type Hint = String;

    fn hint(&self, line: &str, _pos: usize, _context: &Context<'_>) -> Option<String> {
        if !line.is_empty() && !line.starts_with('/') {
            // A hint to others that may be lost.
            let _ = self.0.try_send(Input::Typing);
        }
        None
    }
}

impl Completer for Watcher {
    type Candidate = String;
}
impl Highlighter for Watcher {}
impl Validator for Watcher {}
impl Helper for Watcher {}

#[cfg(test)]
mod tests {
    use super::*;
    use owo_colors::OwoColorize;

    #[test]
    fn pipes_get_no_colours() {
        let line = format!("a {} {}", "b".green(), "mm".dimmed());
        assert_eq!(colourless(&line), "a b mm");
    }
}
