//! `heddle token`: mints a token from the server's own key.

use crate::failure::{Failure, Outcome};
use crate::keys::{self, Grants, Minter};
use crate::paths;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Mint a token from the server's own key
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  heddle token --as alice
  heddle token --as alice --device phone
  heddle token --as backend --service --ttl 30d
  TOKEN=$(heddle token --as alice) && grpcurl -plaintext -H \"authorization: Bearer $TOKEN\" \\
    localhost:7447 heddle.v1.UserService/GetSelf")]
pub struct TokenArgs {
    /// Whose token
    #[arg(long = "as", value_name = "USER")]
    user: String,
    /// How long it is good for, such as 90s, 15m, 12h or 30d
    #[arg(long, value_name = "TIME", default_value = "12h", value_parser = seconds)]
    ttl: u64,
    /// May do what admins of the deployment may
    #[arg(long)]
    admin: bool,
    /// A service of the product's own: may act for users
    #[arg(long)]
    service: bool,
    /// Good for this device only: when the device is revoked, so is the token
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// The server's data directory [default: heddle in your data home]
    #[arg(long, value_name = "DIR", env = "HEDDLE_DATA")]
    data: Option<PathBuf>,
    /// Make the key first if there is none, for gateways that are started by themselves
    #[arg(long)]
    make_key: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the token.
pub fn run(args: &TokenArgs) -> Outcome {
    if args.user.is_empty() || args.user.len() > 128 {
        return Err(Failure::new("a user id has 1 to 128 bytes"));
    }
    let data = args.data.clone().unwrap_or_else(paths::default_data_dir);
    let grants = Grants {
        admin: args.admin,
        service: args.service,
        device: args.device.clone(),
    };
    if args.make_key {
        std::fs::create_dir_all(&data).map_err(|error| {
            Failure::new(format!("cannot make {}: {error}", data.display()))
                .hint("name a directory of yours with --data")
        })?;
        keys::ensure(&data)?;
    }
    let token = Minter::open(&data)?.mint(&args.user, args.ttl, grants)?;
    if args.json {
        println!(
            "{}",
            json!({"token": token, "user_id": args.user, "ttl_s": args.ttl})
        );
    } else {
        println!("{token}");
    }
    Ok(())
}

/// Reads `90s`, `15m`, `12h`, `30d`, or a plain number of seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit_s) = match text.trim_end_matches(|c: char| c.is_ascii_alphabetic()) {
        number if number.len() == text.len() => (number, 1),
        number => match &text[number.len()..] {
            "s" => (number, 1),
            "m" => (number, 60),
            "h" => (number, 3600),
            "d" => (number, 86_400),
            _ => return Err("write it as 90s, 15m, 12h or 30d".into()),
        },
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write it as 90s, 15m, 12h or 30d")?;
    number
        .checked_mul(unit_s)
        .ok_or_else(|| "that is too long".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("15m"), Ok(900));
        assert_eq!(seconds("30d"), Ok(2_592_000));
        assert!(seconds("soon").is_err() && seconds("1w").is_err() && seconds("").is_err());
    }
}
