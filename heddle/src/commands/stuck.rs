//! `heddle stuck`: lists what mailboxes could not take and is set aside, and redrives it.
//!
//! For operators: on the server's own machine tokens are minted with the grant `admin`.

use super::show;
use crate::connect::ConnectArgs;
use crate::failure::{Failure, Outcome};
use clap::{Args, Subcommand};
use heddle_sdk::{Client, Error, Reason, v1};
use serde_json::{Value, json};

/// See to what mailboxes could not take and is set aside
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle stuck list
  heddle stuck list --json
  heddle stuck redrive STUCK_ID
  heddle stuck redrive --all")]
pub struct StuckArgs {
    #[command(subcommand)]
    command: StuckCommand,
}

#[derive(Subcommand, Debug)]
enum StuckCommand {
    /// List what is set aside, the newest first
    #[command(after_help = "Examples:
  heddle stuck list
  heddle stuck list --day 2026-11-28 --json")]
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Read the conversation's log again and let the mailbox take what it lacks
    #[command(after_help = "Examples:
  heddle stuck redrive STUCK_ID
  heddle stuck redrive --all")]
    Redrive {
        /// Which pieces
        #[arg(required_unless_present = "all", value_name = "STUCK_ID")]
        pieces: Vec<String>,
        /// All that is set aside
        #[arg(long, conflicts_with = "pieces")]
        all: bool,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args, Debug)]
struct Common {
    /// The newest day in UTC; goes back 30 days from there [default: today]
    #[arg(
        long,
        value_name = "YYYY-MM-DD",
        default_value = "",
        hide_default_value = true
    )]
    day: String,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Print one JSON value per line
    #[arg(long)]
    json: bool,
}

/// Does what is asked.
pub async fn run(args: StuckArgs) -> Outcome {
    match args.command {
        StuckCommand::List { common } => list(&common).await,
        StuckCommand::Redrive {
            pieces,
            all,
            common,
        } => redrive(&common, pieces, all).await,
    }
}

async fn list(common: &Common) -> Outcome {
    let pieces = all_pieces(&common.connect.operator()?, &common.day).await?;
    for piece in &pieces {
        match common.json {
            true => println!("{}", value(piece)),
            false => println!("{}", line(piece)),
        }
    }
    say_if_none(common, pieces.len());
    Ok(())
}

fn say_if_none(common: &Common, count: usize) {
    if count == 0 && !common.json {
        eprintln!("nothing is set aside");
    }
}

/// Each by itself: one whose log still lacks events does not keep the others from going on.
async fn redrive(common: &Common, mut pieces: Vec<String>, all: bool) -> Outcome {
    let client = common.connect.operator()?;
    if all {
        let found = all_pieces(&client, &common.day).await?;
        pieces = found.into_iter().map(|it| it.stuck_id).collect();
    }
    say_if_none(common, pieces.len());
    let (mut failed, mut last) = (0, None);
    for piece in &pieces {
        match client.redrive_stuck(piece).await {
            Ok(count) if common.json => {
                println!("{}", json!({"stuck_id": piece, "event_count": count}));
            }
            Ok(0) => println!("{piece}: nothing is missing any more"),
            Ok(count) => println!("{piece}: the mailbox has taken {count} events"),
            // Another one was quicker, or this one was and its answer was lost.
            Err(error) if all && error.reason == Reason::NotFound => {}
            Err(error) => {
                if pieces.len() > 1 {
                    eprintln!("{piece}: {error}");
                }
                (failed, last) = (failed + 1, Some(error));
            }
        }
    }
    match last {
        Some(error) if pieces.len() == 1 => Err(refused(error)),
        Some(error) => {
            let text = format!("{failed} of {} could not be redriven", pieces.len());
            Err(Failure::new(text).hint(hint(&error).unwrap_or("each error is above")))
        }
        None => Ok(()),
    }
}

async fn all_pieces(client: &Client, day: &str) -> Outcome<Vec<v1::StuckPiece>> {
    let mut pieces = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = client.stuck(day, &page_token).await.map_err(refused)?;
        pieces.extend(page.stuck_pieces);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(pieces);
        }
    }
}

/// What to do about an error that the general advice does not know.
fn hint(error: &Error) -> Option<&'static str> {
    match error.reason {
        Reason::DataLoss => Some(
            "repair or restore the store, then redrive again; docs/operations.md has the steps, at \
             HeddleFanOutSetAside",
        ),
        Reason::NotFound => Some("`heddle stuck list` shows what there is"),
        Reason::RoleRequired => {
            Some("an operator's token is needed: `heddle token --as ops --admin` mints one")
        }
        Reason::InvalidField if error.field == "stuck_id" => {
            Some("`heddle stuck list` shows the ids")
        }
        _ => None,
    }
}

fn refused(error: Error) -> Failure {
    match hint(&error) {
        Some(hint) => Failure::new(error).hint(hint),
        None => error.into(),
    }
}

fn line(piece: &v1::StuckPiece) -> String {
    format!(
        "{} {} lacks {} to {} of {}: {}\n      {}",
        day_and_clock(piece),
        show::plain(&piece.user_id),
        piece.from_seq,
        piece.to_seq,
        show::id(&piece.conversation_id),
        show::plain(&piece.reason),
        piece.stuck_id
    )
}

/// When, in UTC: what is set aside may be old.
fn day_and_clock(piece: &v1::StuckPiece) -> String {
    let time = piece.create_time.as_ref();
    let text = time.map_or_else(String::new, ToString::to_string);
    match text.split_once('T') {
        Some((day, _)) => format!("{day} {}", show::clock(time)),
        None => text,
    }
}

fn value(piece: &v1::StuckPiece) -> Value {
    json!({
        "stuck_id": piece.stuck_id,
        "user_id": piece.user_id,
        "conversation_id": show::id(&piece.conversation_id),
        "from_seq": piece.from_seq,
        "to_seq": piece.to_seq,
        "reason": piece.reason,
        "time_ms": show::millis(piece.create_time.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_proto::time;

    #[test]
    fn a_line_says_who_lacks_what_and_never_controls_the_terminal() {
        let piece = v1::StuckPiece {
            stuck_id: "id".into(),
            user_id: "bob\u{1b}[31m".into(),
            conversation_id: vec![5; 16].into(),
            from_seq: 2,
            to_seq: 9,
            reason: "why".into(),
            create_time: Some(time::timestamp(1_700_000_000_000)),
        };
        let shown = line(&piece);
        assert!(shown.starts_with("2023-11-14 22:13 bob"), "{shown}");
        assert!(shown.contains("lacks 2 to 9 of 05050505"), "{shown}");
        assert!(shown.ends_with("why\n      id"), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }
}
