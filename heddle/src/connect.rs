//! How every client command finds its server and its user.
//!
//! A token is taken from `--token`, or minted from the data directory of a server on this machine.

use crate::failure::{Failure, Outcome};
use crate::keys::{Grants, Minter};
use crate::paths;
use clap::Args;
use heddle_sdk::{Client, ConversationId, Error};
use std::path::PathBuf;

/// How long minted tokens are good for, in seconds; sessions renew them.
const TOKEN_TTL_S: u64 = 3600;

/// Which server, and who you are
#[derive(Args, Clone, Debug)]
pub struct ConnectArgs {
    /// Who you are; the token is minted from the server's data directory
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
    /// A token from elsewhere
    #[arg(
        long,
        value_name = "TOKEN",
        env = "HEDDLE_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// The server; several gateways of one deployment are separated by commas
    #[arg(long, value_name = "URL", env = "HEDDLE_TARGET", value_delimiter = ',')]
    #[arg(default_value = "http://127.0.0.1:7447")]
    target: Vec<String>,
    /// Whom to trust with an https target, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Names this device among your others
    #[arg(long, value_name = "NAME", default_value = "terminal")]
    device: String,
    /// The server's data directory [default: heddle in your data home]
    #[arg(long, value_name = "DIR", env = "HEDDLE_DATA")]
    data: Option<PathBuf>,
}

/// A client, and who it speaks for.
pub struct Connected {
    /// The client.
    pub client: Client,
    /// The user.
    pub user_id: String,
    /// What this device remembers lies here.
    pub memory: PathBuf,
}

impl ConnectArgs {
    /// The client; connections are made when they are needed.
    pub fn client(&self) -> Outcome<Client> {
        self.client_of(self.user.as_deref(), Grants::default())
    }

    /// A client for what only operators may: with the grant `admin`, as `operator` where no user is
    /// named.
    pub fn operator(&self) -> Outcome<Client> {
        let grants = Grants {
            admin: true,
            ..Grants::default()
        };
        self.client_of(Some(self.user.as_deref().unwrap_or("operator")), grants)
    }

    fn client_of(&self, user: Option<&str>, grants: Grants) -> Outcome<Client> {
        let mut builder = Client::builder()
            .addresses(self.target.iter().cloned())
            .device_id(&self.device);
        if let Some(path) = &self.ca {
            let pem = std::fs::read(path).map_err(|error| {
                Failure::new(format!("cannot read {}: {error}", path.display()))
            })?;
            builder = builder.ca_certificate_pem(pem);
        }
        let builder = match (&self.token, user) {
            (Some(token), _) => builder.token(token.clone()),
            (None, Some(user)) => {
                let minter = Minter::open(&self.data_dir())?;
                let user = user.to_owned();
                builder.token(move || {
                    let token = minter.mint(&user, TOKEN_TTL_S, grants.clone());
                    let token = token.map_err(|failure| Error::field("token", failure.to_string()));
                    std::future::ready(token)
                })
            }
            (None, None) => return Err(Failure::new("who are you?").hint("name a user with --as")),
        };
        Ok(builder.build()?)
    }

    /// The client, after the server has said who the user is.
    pub async fn connect(&self) -> Outcome<Connected> {
        let client = self.client()?;
        let user_id = match (&self.token, &self.user) {
            (None, Some(user)) => user.clone(),
            _ => client.whoami().await?.user_id,
        };
        let memory = paths::client_dir(&self.data_dir(), &user_id, &self.device);
        Ok(Connected {
            client,
            user_id,
            memory,
        })
    }

    fn data_dir(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(paths::default_data_dir)
    }
}

/// Which conversation
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct ConversationArgs {
    /// The direct conversation with somebody
    #[arg(long, value_name = "USER")]
    with: Option<String>,
    /// A group, by its id (32 hexadecimal digits)
    #[arg(long, value_name = "ID", value_parser = conversation_id)]
    group: Option<ConversationId>,
}

impl ConversationArgs {
    /// The conversation's id, whether it is there or not: reading makes nothing.
    pub fn known(&self, user_id: &str) -> Outcome<ConversationId> {
        match (&self.with, self.group) {
            (Some(other), _) => Ok(ConversationId::direct(user_id, other)),
            (None, Some(group)) => Ok(group),
            (None, None) => Err(which()),
        }
    }

    /// The conversation; a direct one is made if it is not there.
    pub async fn find(&self, client: &Client) -> Outcome<ConversationId> {
        match (&self.with, self.group) {
            (Some(user), _) => {
                let conversation = client.create_direct(user).await?;
                known_id(&conversation.conversation_id)
            }
            (None, Some(group)) => Ok(group),
            (None, None) => Err(which()),
        }
    }
}

fn which() -> Failure {
    Failure::new("which conversation?").hint("--with or --group")
}

/// Reads an id as `heddle conversations` prints it.
pub fn conversation_id(text: &str) -> Result<ConversationId, String> {
    let bytes: Option<Vec<u8>> = (0..text.len() / 2)
        .map(|at| u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok())
        .collect();
    bytes
        .filter(|_| text.len() == 32)
        .and_then(|bytes| ConversationId::from_wire(&bytes))
        .ok_or_else(|| "an id has 32 hexadecimal digits; `heddle conversations` shows it".into())
}

/// An id that the server gave.
pub fn known_id(bytes: &[u8]) -> Outcome<ConversationId> {
    ConversationId::from_wire(bytes)
        .ok_or_else(|| Failure::new("the server gave a conversation id that is not 16 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_being_printed() {
        let id = ConversationId::direct("alice", "bob");
        assert_eq!(conversation_id(&id.to_string()), Ok(id));
        assert!(conversation_id("abc").is_err());
        assert!(conversation_id(&"é".repeat(16)).is_err());
    }
}
