//! Unconfigured: stands for a provider that the operator has not set up.
//!
//! Invariant: what is registered for it ends as a dead letter that says so, never in silence.

use tonic::async_trait;

use super::{Attempt, PushProvider};
use crate::push::Push;

/// Refuses all, saying which setting is missing.
pub struct Unconfigured {
    /// The provider's name.
    pub name: &'static str,
    /// The setting that is missing.
    pub setting: &'static str,
}

#[async_trait]
impl PushProvider for Unconfigured {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn send(&self, _push: &Push) -> Attempt {
        Attempt::Refused {
            reason: format!("this provider is not set up: {} is not set", self.setting),
        }
    }
}
