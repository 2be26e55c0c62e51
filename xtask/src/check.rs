//! What a check answers: how it went, and whether the tree or the machine is to blame.
//!
//! Every other module of xtask returns an [`Outcome`]; only `suite` decides what it means for the
//! run. Invariant: the text of a failure says what to do next.

/// Why a check did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The tree is wrong.
    #[error("{0}")]
    Wrong(String),
    /// This machine lacks what the check needs: loud at home, an error in CI.
    #[error("{0}")]
    Missing(String),
    /// This machine does not allow it, whatever is installed: loud, and no error.
    #[error("{0}")]
    Impossible(String),
}

/// A note for the table of the run ("12 files"), or why not.
pub type Outcome = Result<String, Failure>;

impl Failure {
    /// The tree is wrong; `text` says where and what to do.
    pub fn wrong(text: impl Into<String>) -> Self {
        Self::Wrong(text.into())
    }

    /// The machine lacks something; `text` says what and how to get it.
    pub fn missing(text: impl Into<String>) -> Self {
        Self::Missing(text.into())
    }
}

/// A file that can't be read or written is the tree's fault as far as a check can tell.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Wrong(error.to_string())
    }
}
