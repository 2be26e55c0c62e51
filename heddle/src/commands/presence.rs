//! `heddle presence`: who is online.

use super::show;
use crate::connect::ConnectArgs;
use crate::failure::Outcome;
use clap::Args;
use heddle_sdk::v1;
use serde_json::json;

/// Show who is online; people who share no conversation with you are left out
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle presence --as alice bob carol")]
pub struct PresenceArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Whom to look for
    #[arg(required = true, value_name = "USER")]
    users: Vec<String>,
    /// Print one JSON value per line
    #[arg(long)]
    json: bool,
}

/// Prints one line per person.
pub async fn run(args: PresenceArgs) -> Outcome {
    let client = args.connect.client()?;
    for presence in client.presence(args.users).await? {
        if args.json {
            println!(
                "{}",
                json!({
                    "user_id": presence.user_id,
                    "online": presence.online,
                    "last_seen_ms": show::millis(presence.last_seen_time.as_ref()),
                    "status": presence.status,
                })
            );
        } else {
            println!("{}", line(&presence));
        }
    }
    Ok(())
}

/// Who, and since when not.
pub fn line(presence: &v1::Presence) -> String {
    let who = show::plain(&presence.user_id);
    let status = match presence.status.as_str() {
        "" => String::new(),
        status => format!(" ({})", show::plain(status)),
    };
    match (presence.online, &presence.last_seen_time) {
        (true, _) => format!("{who} is online{status}"),
        (false, Some(time)) => {
            format!(
                "{who} was last seen at {} UTC{status}",
                show::clock(Some(time))
            )
        }
        (false, None) => format!("{who} is offline{status}"),
    }
}
