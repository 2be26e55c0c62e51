//! Secret: a setting that must not be seen.
//!
//! For passwords, keys and addresses that hold them, in settings of any service.
//!
//! Invariant: `Debug` does not show it, and there is no `Display`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Text that is read from the settings and shown nowhere.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself; give it to what needs it and to nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}
