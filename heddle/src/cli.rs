//! The command line: one enum of commands, each with its own file.
//!
//! Invariant: results go to stdout, everything else to stderr; `--json` output is one value per
//! line.

use crate::commands::{certs, conversations, history, id, lab, presence, push, send};
use crate::commands::{stuck, tail, token};
use crate::failure::Outcome;
use crate::{chat, serve};
use clap::{Parser, Subcommand};
use std::future::Future;
use std::process::ExitCode;

/// A chat server, and clients for it
#[derive(Parser)]
#[command(name = "heddle", version, max_term_width = 100)]
#[command(after_help = "Without a command, heddle serves: `heddle` is `heddle serve`.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Token(token::TokenArgs),
    Certs(certs::CertsArgs),
    Chat(chat::ChatArgs),
    Send(send::SendArgs),
    Tail(tail::TailArgs),
    History(history::HistoryArgs),
    Conversations(conversations::ConversationsArgs),
    Presence(presence::PresenceArgs),
    Push(push::PushArgs),
    Stuck(stuck::StuckArgs),
    Id(id::IdArgs),
    #[command(flatten)]
    Lab(lab::LabCommand),
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    heddle_kit::tls::install_crypto_provider();
    let cli = Cli::parse();
    match perform(cli.command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{:?}", miette::Report::new(failure));
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Option<Command>) -> Outcome<ExitCode> {
    // Parsed anew rather than defaulted, so that the environment counts.
    let serving = || Cli::parse_from(["heddle", "serve"]).command;
    let Some(command) = command.or_else(serving) else {
        return Ok(ExitCode::FAILURE);
    };
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Token(args) => done(token::run(&args)),
        Command::Certs(args) => done(certs::run(&args)),
        Command::Id(args) => done(id::run(&args)),
        Command::Chat(args) => client(chat::run(args)),
        Command::Send(args) => client(send::run(args)),
        Command::Tail(args) => client(tail::run(args)),
        Command::History(args) => client(history::run(args)),
        Command::Conversations(args) => client(conversations::run(args)),
        Command::Presence(args) => client(presence::run(args)),
        Command::Push(args) => client(push::run(args)),
        Command::Stuck(args) => client(stuck::run(args)),
        Command::Lab(command) => lab::run(command),
    }
}

fn done(outcome: Outcome) -> Outcome<ExitCode> {
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Runs a client: one thread is enough for a person.
fn client(work: impl Future<Output = Outcome>) -> Outcome<ExitCode> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build()?;
    let outcome = runtime.block_on(work);
    // A thread that still waits for a line of input is not waited for.
    runtime.shutdown_background();
    done(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_each_command_shows_an_example() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        for command in command.get_subcommands().filter(|c| c.get_name() != "help") {
            let help = command.get_after_help().map(ToString::to_string);
            let example = format!("heddle {}", command.get_name());
            assert!(
                help.is_some_and(|help| help.contains(&example)),
                "{example}"
            );
        }
    }
}
