//! Dead letters: pushes that were given up, with the reason, for people to see.
//!
//! `lane` puts them in. A memory of the last ones for now; a store that survives comes behind the
//! same trait.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tonic::async_trait;

use crate::push::Push;

/// A push that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The push.
    pub push: Push,
    /// Which provider did not take it.
    pub provider: &'static str,
    /// The provider's last word.
    pub reason: String,
    /// How often it was tried.
    pub tries: u32,
    /// When it was given up (milliseconds since the Unix epoch).
    pub time_ms: u64,
}

/// The letter could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("a dead letter cannot be kept: {0}")]
pub struct KeepError(pub String);

/// Where dead letters are kept.
///
/// The law: once `put` has returned, `list` shows the letter until the backend's bound pushes it
/// out. A letter that could not be put leaves its intent unsettled, so it is sent again.
#[async_trait]
pub trait DeadLetters: Send + Sync + 'static {
    /// Keeps a letter.
    async fn put(&self, letter: DeadLetter) -> Result<(), KeepError>;

    /// The newest letters first, up to `count_max`.
    async fn list(&self, count_max: usize) -> Result<Vec<DeadLetter>, KeepError>;
}

/// The last letters, in memory.
#[derive(Debug)]
pub struct MemoryDeadLetters {
    letters: Mutex<VecDeque<DeadLetter>>,
    letters_max: usize,
}

impl MemoryDeadLetters {
    /// Keeps the last `letters_max`.
    pub fn new(letters_max: usize) -> Self {
        Self {
            letters: Mutex::default(),
            letters_max: letters_max.max(1),
        }
    }
}

#[async_trait]
impl DeadLetters for MemoryDeadLetters {
    async fn put(&self, letter: DeadLetter) -> Result<(), KeepError> {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if letters.len() >= self.letters_max {
            letters.pop_front();
        }
        letters.push_back(letter);
        Ok(())
    }

    async fn list(&self, count_max: usize) -> Result<Vec<DeadLetter>, KeepError> {
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(letters.iter().rev().take(count_max).cloned().collect())
    }
}
