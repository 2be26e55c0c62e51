//! `heddle id`: a fresh client_message_id, for grpcurl.

use crate::failure::Outcome;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use heddle_sdk::MessageId;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// Print a fresh UUIDv7, as calls that make something need it
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle id
  heddle id --base64
  grpcurl ... -d '{\"client_message_id\": \"'$(heddle id --base64)'\", ...}' ...")]
pub struct IdArgs {
    /// Only as base64, which is how grpcurl takes bytes
    #[arg(long)]
    base64: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "base64")]
    json: bool,
}

/// Prints the id.
pub fn run(args: &IdArgs) -> Outcome {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    });
    let id = MessageId::mint(now_ms, &rand::random());
    let base64 = STANDARD.encode(id.as_bytes());
    let hex: String = id
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    match (args.base64, args.json) {
        (true, _) => println!("{base64}"),
        (_, true) => println!("{}", json!({"hex": hex, "base64": base64})),
        _ => println!("hex     {hex}\nbase64  {base64}"),
    }
    Ok(())
}
