//! `heddle tail`: follows one's own mailbox.

use super::show;
use crate::connect::ConnectArgs;
use crate::failure::{Failure, Outcome};
use clap::Args;
use heddle_sdk::{Update, v1};
use serde_json::json;

/// Follow what happens to a user, from now or from a position
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle tail --as alice
  heddle tail --as alice --from 0 --json | jq .event.text

The device is `terminal` unless --device names another; what it prints counts as delivered.")]
pub struct TailArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Start after this position of the mailbox; 0: from the beginning of what is kept
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
    /// Print one JSON value per line
    #[arg(long)]
    json: bool,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Follows until Ctrl-C.
pub async fn run(args: TailArgs) -> Outcome {
    let client = args.connect.client()?;
    let resume = match args.from {
        Some(position) => Some(cursor(&client, position).await?),
        None => None,
    };
    let mut session = client
        .session()
        .resume(resume)
        .foreground(false)
        .open()
        .await?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let update = tokio::select! {
            update = session.next() => update,
            _ = tokio::signal::ctrl_c() => break,
        };
        match update {
            Some(Update::Closed(error)) => return Err(error.into()),
            Some(update) => {
                print(&update, args.json);
                left -= u64::from(matches!(update, Update::Event(_) | Update::State(_)));
            }
            None => break,
        }
    }
    session.close().await;
    Ok(())
}

/// A position alone is no resume token: the nonce comes from the event there.
async fn cursor(client: &heddle_sdk::Client, position: u64) -> Outcome<v1::Cursor> {
    if position == 0 {
        return Ok(v1::Cursor::default());
    }
    let before = v1::Cursor {
        position: position - 1,
        nonce: 0,
    };
    let page = client.events(Some(before), 1).await?;
    page.next
        .filter(|next| next.position == position)
        .ok_or_else(|| {
            Failure::new(format!("position {position} is not kept"))
                .hint("`--from 0` starts at the beginning of what is kept")
        })
}

fn print(update: &Update, is_json: bool) {
    if is_json {
        if let Some(value) = machine(update) {
            println!("{value}");
        }
    } else if let Some(line) = person(update) {
        println!("{line}");
    }
}

fn machine(update: &Update) -> Option<serde_json::Value> {
    Some(match update {
        Update::Event(delivery) => json!({
            "position": delivery.cursor.map_or(0, |cursor| cursor.position),
            "previous_position": delivery.previous_position,
            "event": show::event_json(delivery.event.as_ref()?),
        }),
        Update::State(delivery) => json!({
            "position": delivery.cursor.map_or(0, |cursor| cursor.position),
            "previous_position": delivery.previous_position,
            "state": show::state_json(delivery.state.as_ref()?),
        }),
        Update::CaughtUp(cursor) => json!({"caught_up": cursor.position}),
        Update::Reset { head } => json!({"reset": head.position}),
        Update::Connected(opened) => json!({"connected": opened.session_id}),
        Update::Disconnected { error, .. } => json!({"disconnected": error.to_string()}),
        _ => return None,
    })
}

fn person(update: &Update) -> Option<String> {
    Some(match update {
        Update::Event(delivery) => {
            let event = delivery.event.as_ref()?;
            format!(
                "{:>8}  {}  {}  #{}  {}",
                delivery.cursor.map_or(0, |cursor| cursor.position),
                show::clock(event.create_time.as_ref()),
                &show::id(&event.conversation_id)
                    .get(..8)
                    .unwrap_or_default(),
                event.seq,
                show::event(event)?,
            )
        }
        Update::State(delivery) => {
            let position = delivery.cursor.map_or(0, |cursor| cursor.position);
            format!(
                "{position:>8}  {}",
                show::state_json(delivery.state.as_ref()?)
            )
        }
        Update::Reset { head } => format!("-- reset: going on from position {}", head.position),
        Update::Disconnected { error, .. } => format!("-- disconnected: {error}"),
        Update::Connected(_) => "-- connected".to_owned(),
        _ => return None,
    })
}
