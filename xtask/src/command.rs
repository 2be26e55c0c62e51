//! Running other programs, so that what fails can be run again by hand.
//!
//! Used by every step that calls cargo, buf or npm. Invariant: a failure shows the command line,
//! and a program that is not installed is told apart from one that failed.

use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Child, Command, Stdio};

use crate::check::Failure;

/// What a program's exit code is where the machine does not allow what it was asked for.
pub const IMPOSSIBLE: i32 = 77;

/// Runs a program with this terminal as its output.
pub fn run(command: &mut Command) -> Result<(), Failure> {
    announce(command);
    let child = start(command)?;
    finish(command, child)
}

/// Runs a program, hands each line of its standard output to `each`, and prints it too.
pub fn stream(command: &mut Command, mut each: impl FnMut(&str)) -> Result<(), Failure> {
    announce(command);
    let mut child = start(command.stdout(Stdio::piped()))?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            each(&line);
        }
    }
    finish(command, child)
}

/// Whether a program can be started at all.
pub fn is_installed(program: &str, argument: &str) -> bool {
    Command::new(program)
        .arg(argument)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn announce(command: &Command) {
    eprintln!("$ {}", shown(command));
}

fn start(command: &mut Command) -> Result<Child, Failure> {
    command.spawn().map_err(|error| {
        let program = command.get_program().to_string_lossy();
        match error.kind() {
            ErrorKind::NotFound => Failure::missing(format!("{program} is not installed")),
            _ => Failure::wrong(format!("{program} did not start: {error}")),
        }
    })
}

fn finish(command: &Command, mut child: Child) -> Result<(), Failure> {
    let status = child.wait()?;
    let command = shown(command);
    match status.code() {
        Some(0) => Ok(()),
        Some(IMPOSSIBLE) => Err(Failure::Impossible(format!(
            "`{command}`: this machine does not allow it (it says why above)"
        ))),
        _ => Err(Failure::wrong(format!("`{command}`: {status}"))),
    }
}

/// The command as a person would type it, without the directories of the program.
fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let mut line = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_not_a_failing_one() {
        let missing = run(&mut Command::new("heddle-no-such-program"));
        assert!(matches!(missing, Err(Failure::Missing(_))), "{missing:?}");
        let failing = run(&mut Command::new("false"));
        assert!(matches!(failing, Err(Failure::Wrong(_))), "{failing:?}");
    }

    #[test]
    fn each_line_is_seen_even_when_the_program_fails() {
        let mut seen = Vec::new();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo one; echo two; exit 3"]);
        let outcome = stream(&mut shell, |line| seen.push(line.to_owned()));
        assert_eq!(seen, ["one", "two"]);
        assert!(outcome.is_err());
    }
}
