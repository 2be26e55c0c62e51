//! `heddle push`: tests pushes, tells what became of one, lists and redrives those that were given
//! up.
//!
//! For operators: on the server's own machine tokens are minted with the grant `admin`.

use super::show;
use crate::connect::ConnectArgs;
use crate::failure::{Failure, Outcome};
use clap::{Args, Subcommand};
use heddle_sdk::{Client, v1};
use serde_json::{Value, json};

/// Test pushes, and see to those that were given up
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle push test --user alice
  heddle push outcome --user alice PUSH_ID
  heddle push dead-letters --day 2026-11-28 --json
  heddle push redrive DEAD_LETTER_ID
  heddle push redrive --all")]
pub struct PushArgs {
    #[command(subcommand)]
    command: PushCommand,
}

#[derive(Subcommand, Debug)]
enum PushCommand {
    /// Send a test to a user's devices, and tell what each provider says
    Test {
        /// Whose devices
        #[arg(long = "user", value_name = "USER")]
        whose: String,
        #[command(flatten)]
        common: Common,
    },
    /// Tell what became of a push
    Outcome {
        /// Whose push
        #[arg(long = "user", value_name = "USER")]
        whose: String,
        /// Its id, as devices and webhooks get it
        push_id: String,
        #[command(flatten)]
        common: Common,
    },
    /// List a day's pushes that were given up
    DeadLetters {
        #[command(flatten)]
        day: Day,
        #[command(flatten)]
        common: Common,
    },
    /// Push again what dead letters were about, as it stands now
    Redrive {
        /// Which letters
        #[arg(required_unless_present = "all", value_name = "DEAD_LETTER_ID")]
        letters: Vec<String>,
        /// All of a day
        #[arg(long, conflicts_with = "letters")]
        all: bool,
        #[command(flatten)]
        day: Day,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args, Debug)]
struct Day {
    /// The day in UTC [default: today]
    #[arg(
        long,
        value_name = "YYYY-MM-DD",
        default_value = "",
        hide_default_value = true
    )]
    day: String,
}

#[derive(Args, Debug)]
struct Common {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Print one JSON value per line
    #[arg(long)]
    json: bool,
}

/// Does what is asked.
pub async fn run(args: PushArgs) -> Outcome {
    match args.command {
        PushCommand::Test { whose, common } => {
            let results = common.connect.operator()?.test_push(&whose).await?;
            results.iter().for_each(|result| common.print(result));
            let failed = results.iter().filter(|it| !is_delivered(it)).count();
            match failed {
                0 => Ok(()),
                _ => Err(
                    Failure::new(format!("{failed} of {} did not arrive", results.len()))
                        .hint("docs/push.md says what each answer of a provider means"),
                ),
            }
        }
        PushCommand::Outcome {
            whose,
            push_id,
            common,
        } => {
            let client = common.connect.operator()?;
            let push = client.push(&whose, &push_id).await?;
            if push.settle_time.is_none() && !common.json {
                println!("under way");
            }
            push.results.iter().for_each(|result| common.print(result));
            Ok(())
        }
        PushCommand::DeadLetters { day, common } => {
            let letters = all_letters(&common.connect.operator()?, &day.day).await?;
            letters
                .iter()
                .for_each(|letter| common.print_letter(letter));
            if letters.is_empty() && !common.json {
                eprintln!("no dead letters");
            }
            Ok(())
        }
        PushCommand::Redrive {
            mut letters,
            all,
            day,
            common,
        } => {
            let client = common.connect.operator()?;
            if all {
                let found = all_letters(&client, &day.day).await?;
                letters = found.into_iter().map(|it| it.dead_letter_id).collect();
            }
            for letter in letters {
                let push_id = client.redrive_push(&letter).await?;
                if common.json {
                    println!("{}", json!({"dead_letter_id": letter, "push_id": push_id}));
                } else if push_id.is_empty() {
                    println!("its device is no more: the letter is gone");
                } else {
                    println!("pushed again as {push_id}");
                }
            }
            Ok(())
        }
    }
}

async fn all_letters(client: &Client, day: &str) -> Outcome<Vec<v1::DeadLetter>> {
    let mut letters = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = client.dead_letters(day, &page_token).await?;
        letters.extend(page.dead_letters);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(letters);
        }
    }
}

fn is_delivered(result: &v1::PushResult) -> bool {
    result.outcome() == v1::PushOutcome::Delivered
}

impl Common {
    fn print(&self, result: &v1::PushResult) {
        match self.json {
            true => println!("{}", value(result)),
            false => println!("{}", line(result)),
        }
    }

    fn print_letter(&self, letter: &v1::DeadLetter) {
        let result = letter.result.clone().unwrap_or_default();
        if self.json {
            let letter = json!({
                "dead_letter_id": letter.dead_letter_id,
                "push_id": letter.push_id,
                "user_id": letter.user_id,
                "seq": letter.seq,
                "time_ms": show::millis(letter.create_time.as_ref()),
                "result": value(&result),
            });
            return println!("{letter}");
        }
        let (who, when) = (
            show::plain(&letter.user_id),
            show::clock(letter.create_time.as_ref()),
        );
        println!(
            "{when} {who}'s {}\n      {}",
            line(&result),
            letter.dead_letter_id
        );
    }
}

/// A result in a few words.
fn word(result: &v1::PushResult) -> &'static str {
    match result.outcome() {
        v1::PushOutcome::Unspecified => "under way",
        v1::PushOutcome::Delivered => "delivered",
        v1::PushOutcome::TokenDead => "registration is dead, removed",
        v1::PushOutcome::DeadLetter => "given up",
        v1::PushOutcome::Superseded => "superseded by a newer one",
    }
}

fn line(result: &v1::PushResult) -> String {
    let device = show::plain(&result.device_id);
    let detail = match result.detail.as_str() {
        "" => String::new(),
        detail => format!(": {}", show::plain(detail)),
    };
    format!("{device} by {}: {}{detail}", result.provider, word(result))
}

fn value(result: &v1::PushResult) -> Value {
    json!({
        "device_id": result.device_id,
        "registration_id": result.registration_id,
        "provider": result.provider,
        "outcome": result.outcome().as_str_name(),
        "detail": result.detail,
        "tries": result.tries,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_became_of_it_and_never_controls_the_terminal() {
        let mut result = v1::PushResult {
            device_id: "phone".into(),
            provider: "apns".into(),
            detail: "BadDeviceToken\u{1b}[31m".into(),
            ..Default::default()
        };
        result.set_outcome(v1::PushOutcome::TokenDead);
        let shown = line(&result);
        assert!(shown.starts_with("phone by apns: registration is dead, removed: Bad"));
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
}
