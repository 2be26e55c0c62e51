//! Provider: the seam to whoever carries pushes to devices; one file for each.
//!
//! `lane` calls it, bounds how many calls run at once and decides about another try.

mod log;

use std::time::Duration;

use tonic::async_trait;

use crate::push::Push;
pub use log::LogProvider;

/// Carries pushes to devices.
///
/// The law: `send` makes one try and says what the provider said. It may be called for many pushes
/// at once, and again for a push it has sent before (then with the same collapse key, so that the
/// device shows one). It may be dropped at any await. It logs no token, key or body.
#[async_trait]
pub trait PushProvider: Send + Sync + 'static {
    /// Its name, in metrics and dead letters.
    fn name(&self) -> &'static str;

    /// Tries once.
    async fn send(&self, push: &Push) -> Attempt;
}

/// What became of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The provider has taken it over.
    Delivered,
    /// Not now: it may work later. Counts as a try.
    RetryLater {
        /// For people.
        reason: String,
        /// The provider asked for at least this pause.
        after: Option<Duration>,
    },
    /// The device is not reachable under its registration any more, which should be removed.
    TokenDead {
        /// For people.
        reason: String,
    },
    /// The provider does not accept us. A person must act; does not count as a try.
    CredentialsBad {
        /// For people.
        reason: String,
    },
    /// The provider will never take this push.
    Refused {
        /// For people.
        reason: String,
    },
}

impl Attempt {
    /// How metrics name it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::RetryLater { .. } => "retry_later",
            Self::TokenDead { .. } => "token_dead",
            Self::CredentialsBad { .. } => "credentials_bad",
            Self::Refused { .. } => "refused",
        }
    }
}
