//! Credentials: a provider's key file, parsed, and read again when it changes.
//!
//! Invariant: a file that cannot be used never replaces one that could; what is in it appears in
//! no log and no error.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The file is looked at so often, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Why there are no credentials, for people. Never what is in the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {wrong}")]
pub struct CredentialsError {
    path: String,
    wrong: String,
}

/// A key file.
pub struct Credentials<T> {
    path: PathBuf,
    parse: fn(&[u8]) -> Result<T, String>,
    state: Mutex<State<T>>,
    look_interval: Duration,
}

struct State<T> {
    looked: Option<Instant>,
    modified: Option<SystemTime>,
    current: Option<Arc<T>>,
    wrong: String,
}

impl<T> Credentials<T> {
    /// `parse` says what is wrong without saying what is in the file.
    pub fn new(path: PathBuf, parse: fn(&[u8]) -> Result<T, String>) -> Self {
        Self {
            path,
            parse,
            look_interval: LOOK_INTERVAL,
            state: Mutex::new(State {
                looked: None,
                modified: None,
                current: None,
                wrong: "not read yet".into(),
            }),
        }
    }

    /// The newest that could be used.
    pub async fn get(&self) -> Result<Arc<T>, CredentialsError> {
        if self.is_time_to_look() {
            let read = self.read_if_changed().await;
            self.take(read);
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let error = || CredentialsError {
            path: self.path.display().to_string(),
            wrong: state.wrong.clone(),
        };
        state.current.clone().ok_or_else(error)
    }

    fn is_time_to_look(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |looked: Instant| looked.elapsed() < self.look_interval;
        let due = state.current.is_none() || !state.looked.is_some_and(recent);
        if due {
            state.looked = Some(Instant::now());
        }
        due
    }

    async fn read_if_changed(&self) -> Result<Option<(SystemTime, Vec<u8>)>, String> {
        let text = |error: std::io::Error| error.to_string();
        let found = tokio::fs::metadata(&self.path).await.map_err(text)?;
        let modified = found.modified().map_err(text)?;
        let known = self
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .modified;
        if known == Some(modified) {
            return Ok(None);
        }
        let bytes = tokio::fs::read(&self.path).await.map_err(text)?;
        Ok(Some((modified, bytes)))
    }

    fn take(&self, read: Result<Option<(SystemTime, Vec<u8>)>, String>) {
        let parsed = match read {
            Ok(None) => return,
            Ok(Some((modified, bytes))) => (self.parse)(&bytes).map(|new| (modified, new)),
            Err(wrong) => Err(wrong),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match parsed {
            Ok((modified, new)) => {
                state.modified = Some(modified);
                state.current = Some(Arc::new(new));
            }
            Err(wrong) => {
                // The lane's alarm repeats it; here each new fault is said once.
                if state.wrong != wrong {
                    tracing::error!(path = %self.path.display(), wrong, "a provider's key file");
                }
                state.wrong = wrong;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8]) -> Result<u32, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not text")?;
        text.parse().map_err(|_| "not a number".into())
    }

    #[tokio::test]
    async fn a_file_is_read_again_when_it_changes_and_a_bad_one_never_replaces_a_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let mut credentials = Credentials::new(path.clone(), number);
        credentials.look_interval = Duration::ZERO;
        assert!(credentials.get().await.is_err());
        let write = |text: &str, age_s: u64| {
            std::fs::write(&path, text).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age_s))
                .unwrap();
        };
        write("1", 30);
        assert_eq!(*credentials.get().await.unwrap(), 1);
        write("secret", 20);
        assert_eq!(*credentials.get().await.unwrap(), 1);
        write("2", 10);
        assert_eq!(*credentials.get().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn an_error_says_nothing_of_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "secret").unwrap();
        let error = Credentials::new(path, number).get().await.unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
