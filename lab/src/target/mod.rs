//! The Heddle that is driven: where it is, who its users are, and, where it is ours, its process.
//!
//! Used by the benches, the replay and the fault suites. [`tokens`] mints what users sign in with,
//! [`server`] owns a process, [`cluster`] several, [`conversation`] reads what was said,
//! [`transport`] is the load driver's way in, [`sdk_transport`] the one that survives its gateway.
//!
//! Invariant: everything goes through the public API; nothing here knows what a server is made of.

pub mod cluster;
pub mod conversation;
pub mod engines;
pub mod sdk_transport;
pub mod server;
pub mod tokens;
pub mod transport;

use std::path::PathBuf;
use std::time::Duration;

use heddle_sdk::{BackoffPolicy, Client};

pub use server::{HeddleServer, ServerOptions};
pub use tokens::{TokenError, TokenMint};

/// Tries of a unary call: enough to outlast a server that is killed and started again.
const CALL_TRIES_MAX: u32 = 30;
/// Longest pause between tries: a server that comes back is noticed soon.
const RETRY_DELAY_MAX: Duration = Duration::from_millis(500);

/// Why a run can't begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Keys.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Our own server.
    #[error(transparent)]
    Process(#[from] crate::process::ProcessError),
    /// The server refused something or is not there.
    #[error("{what}: {error}")]
    Refused {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        error: heddle_sdk::Error,
    },
    /// A directory or file of our own.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// A server of somebody else's without a key to sign in with.
    #[error(
        "--target (or HEDDLE_TARGET) needs --key FILE: the Ed25519 key in PEM that the server's \
             tokens are signed with (`heddle serve` says where its own lies)"
    )]
    NoKey,
    /// A limit of the server is too low.
    #[error("the server's {limit} is {is}, this needs {needed}: raise it and start again")]
    Limit {
        /// The setting.
        limit: &'static str,
        /// What it is.
        is: u64,
        /// What it should be.
        needed: u64,
    },
}

impl TargetError {
    /// For `map_err`: what was asked when the server refused.
    pub fn refused(what: &'static str) -> impl FnOnce(heddle_sdk::Error) -> TargetError {
        move |error| TargetError::Refused { what, error }
    }
}

/// A server and how users sign in to it.
#[derive(Clone, Debug)]
pub struct Target {
    /// `http://host:port`.
    pub url: String,
    /// Other gateways of the same cluster.
    pub others: Vec<String>,
    /// Who may sign in.
    pub tokens: TokenMint,
}

/// Which server to drive, as a command line says it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct TargetOptions {
    /// The server to drive, several gateways of one deployment separated by commas; without it,
    /// one of our own is started for the run
    #[arg(long, value_name = "URL", env = "HEDDLE_TARGET", value_delimiter = ',')]
    pub target: Option<Vec<String>>,
    /// With --target: the Ed25519 private key (PEM) that the server's tokens are signed with
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The program of a server of our own; by default this one, or `heddle` beside it
    #[arg(long, value_name = "FILE", hide = true)]
    pub program: Option<PathBuf>,
}

impl TargetOptions {
    /// The target, and the server if it is ours.
    pub async fn open(
        &self,
        server: ServerOptions,
    ) -> Result<(Target, Option<HeddleServer>), TargetError> {
        let Some((url, others)) = self.theirs() else {
            let server = HeddleServer::start(self.program.clone(), server).await?;
            return Ok((server.target().clone(), Some(server)));
        };
        let key = self.key.as_ref().ok_or(TargetError::NoKey)?;
        let target = Target {
            url: url.clone(),
            others: others.to_vec(),
            tokens: TokenMint::ed25519_pem(key)?,
        };
        Ok((target, None))
    }

    /// Somebody else's server: its first gateway, and its others.
    fn theirs(&self) -> Option<(&String, &[String])> {
        self.target.as_deref().and_then(<[String]>::split_first)
    }
}

impl Target {
    /// A client of one user's device.
    pub fn client(&self, user: &str, device: &str) -> Result<Client, TargetError> {
        let tokens = self.tokens.clone();
        let name = user.to_owned();
        Client::builder()
            .addresses(self.turned())
            .device_id(device)
            .call_tries_max(CALL_TRIES_MAX)
            .token(move || {
                let token = tokens.mint(&name);
                async move {
                    token.map_err(|error| {
                        heddle_sdk::Error::field("token", format!("no token: {error}"))
                    })
                }
            })
            .build()
            .map_err(TargetError::refused("a client could not be made"))
    }

    /// All gateways.
    pub fn urls(&self) -> impl Iterator<Item = String> {
        std::iter::once(&self.url).chain(&self.others).cloned()
    }

    /// All of them, beginning with any: so devices spread over them.
    fn turned(&self) -> Vec<String> {
        let mut urls: Vec<_> = self.urls().collect();
        let first = rand::random_range(0..urls.len());
        urls.rotate_left(first);
        urls
    }

    /// How sessions come back: soon, since the server may be one that we kill.
    pub fn backoff() -> BackoffPolicy {
        BackoffPolicy {
            delay_max: RETRY_DELAY_MAX,
            ..BackoffPolicy::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        target: TargetOptions,
    }

    #[test]
    fn several_gateways_are_one_target() {
        let told = |words: &[&str]| {
            let words = std::iter::once(&"lab").chain(words);
            let options = Arguments::parse_from(words).target;
            let theirs = options.theirs();
            theirs.map(|(url, others)| (url.clone(), others.to_vec()))
        };
        let (one, two, three) = ("http://a:1", "http://b:2", "https://c:3");
        let alone = Some((one.to_owned(), Vec::new()));
        assert_eq!(told(&["--target", one]), alone);
        let both = format!("{one},{two}");
        let all = Some((one.to_owned(), vec![two.to_owned(), three.to_owned()]));
        assert_eq!(told(&["--target", &both, "--target", three]), all);
    }

    #[test]
    fn without_a_target_a_server_is_started() {
        let mut options = TargetOptions::default();
        assert!(options.theirs().is_none());
        options.target = Some(Vec::new());
        assert!(options.theirs().is_none());
    }
}
