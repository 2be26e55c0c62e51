//! How a command fails: what happened, and what to do next, in colour.

use heddle_sdk::Reason;
use miette::Diagnostic;
use std::fmt::Display;
use tonic::Code;

/// Why a command ends without success.
#[derive(Debug, thiserror::Error, Diagnostic)]
#[error("{message}")]
pub struct Failure {
    message: String,
    #[help]
    hint: Option<String>,
}

/// What a command returns.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure without a hint.
    pub fn new(message: impl Display) -> Self {
        Self {
            message: message.to_string(),
            hint: None,
        }
    }

    /// Says what to do next.
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl From<heddle_sdk::Error> for Failure {
    fn from(error: heddle_sdk::Error) -> Self {
        let hint = match (error.reason, error.code) {
            _ if error.message.contains("certificate") => {
                "--ca names a file with the authority, or the certificate itself, to trust"
            }
            (Reason::TokenInvalid, _) | (_, Code::Unauthenticated) => {
                "mint a token from the server's data directory with `heddle token --as USER`, \
                 and pass it with --token"
            }
            (Reason::NotFound, _) => "`heddle conversations --as USER` lists what there is",
            (Reason::GroupFull, _) => {
                "the operator raises gateway.limits.group_members_max, and on chat nodes \
                 chat.group_members_max"
            }
            (Reason::OutboxExpired, _) => "it is too old to be told apart; send it anew",
            (Reason::Unspecified, Code::Unavailable) => {
                "is the server there? start one with `heddle serve`, or name it with --target"
            }
            (_, _) if error.is_retryable() => "try again in a moment",
            _ => return Self::new(error),
        };
        Self::new(&error).hint(hint)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error)
    }
}
