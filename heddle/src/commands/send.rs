//! `heddle send`: says one thing.

use crate::connect::{ConnectArgs, ConversationArgs};
use crate::failure::{Failure, Outcome};
use clap::Args;
use heddle_sdk::{Outgoing, text};
use serde_json::json;
use std::io::Read;

/// Send one message and wait until it is stored
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle send --as alice --with bob \"hello\"
  uptime | heddle send --as alice --group 4f0c... -")]
pub struct SendArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    conversation: ConversationArgs,
    /// What to say; - reads it from stdin
    text: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Sends.
pub async fn run(args: SendArgs) -> Outcome {
    let client = args.connect.client()?;
    let conversation_id = args.conversation.find(&client).await?;
    let said = match args.text.as_str() {
        "-" => {
            let mut said = String::new();
            std::io::stdin().read_to_string(&mut said)?;
            said.trim_end_matches('\n').to_owned()
        }
        said => said.to_owned(),
    };
    if said.is_empty() {
        return Err(
            Failure::new("there is nothing to say").hint("a message has at least 1 character")
        );
    }
    let outgoing = Outgoing {
        conversation_id,
        client_message_id: client.mint(),
        message: text(said),
    };
    let sent = client.send(outgoing).await?;
    if args.json {
        println!(
            "{}",
            json!({
                "conversation_id": conversation_id.to_string(),
                "seq": sent.seq,
                "create_time_ms": sent.create_time_ms,
            })
        );
    } else {
        println!("stored as #{}", sent.seq);
    }
    Ok(())
}
