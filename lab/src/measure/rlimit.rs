//! The limit of open files: thousands of sessions in one process need more than the usual 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What became of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimit {
    /// The limit as it was; `None` is unlimited.
    pub before: Option<u64>,
    /// The limit as it is.
    pub now: Option<u64>,
}

impl FileLimit {
    /// A line for people if the limit was raised.
    pub fn note(&self) -> Option<String> {
        let (before, now) = (self.before?, self.now?);
        (before != now).then(|| format!("raised the limit of open files from {before} to {now}"))
    }

    /// Whether this many files fit.
    pub fn allows(&self, files: u64) -> bool {
        self.now.is_none_or(|now| now >= files)
    }
}

/// Raises this process's limit of open files to at least `files`, or as far as the hard limit
/// allows. Print the answer's `note`; ask it whether it `allows` what is needed.
pub fn raise_open_files(files: u64) -> FileLimit {
    let limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    if before.is_none_or(|before| before >= files) {
        return FileLimit {
            before,
            now: before,
        };
    }
    let wanted = limit.maximum.map_or(files, |maximum| maximum.min(files));
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() {
        Some(wanted)
    } else {
        before
    };
    FileLimit { before, now }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_raised_once_and_said() {
        let before = getrlimit(Resource::Nofile);
        let wanted = before.current.unwrap_or(1024).saturating_add(1);
        let limit = raise_open_files(wanted);
        if before.maximum.is_none_or(|maximum| maximum >= wanted) && before.current.is_some() {
            assert!(limit.allows(wanted) && limit.note().is_some(), "{limit:?}");
        }
        assert_eq!(raise_open_files(1).note(), None);
    }
}
