//! Reload: a configuration built from files, built again when they change.
//!
//! Invariant: `current` always answers with a configuration that could be built, at once.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use super::{FilesError, TlsError, TlsOptions};

pub(super) type Build<C> = Box<dyn Fn(&TlsOptions) -> Result<Arc<C>, FilesError> + Send + Sync>;

pub(super) struct Reloading<C> {
    /// Where `options` stand in the settings, for errors.
    section: &'static str,
    options: TlsOptions,
    build: Build<C>,
    current: RwLock<Arc<C>>,
    /// The files as they were when last read, whether they could be used or not.
    seen: Mutex<Vec<Stamp>>,
}

/// What tells that a file has changed; none if it cannot be looked at.
type Stamp = Option<(SystemTime, u64)>;

impl<C> Reloading<C> {
    pub(super) fn new(
        section: &'static str,
        options: &TlsOptions,
        build: Build<C>,
    ) -> Result<Self, TlsError> {
        let seen = Mutex::new(stamps(options));
        let current = RwLock::new(build(options).map_err(TlsError::within(section))?);
        Ok(Self {
            section,
            options: options.clone(),
            build,
            current,
            seen,
        })
    }

    pub(super) fn current(&self) -> Arc<C> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn reload(&self) -> Result<bool, TlsError> {
        // Taken before reading: a change in between is seen next time.
        let stamps = stamps(&self.options);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == stamps {
                return Ok(false);
            }
            *seen = stamps;
        }
        let renewed = (self.build)(&self.options).map_err(TlsError::within(self.section))?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(true)
    }
}

impl<C> std::fmt::Debug for Reloading<C> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Reloading")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

fn stamps(options: &TlsOptions) -> Vec<Stamp> {
    let files = [&options.certificate, &options.key, &options.ca];
    files
        .into_iter()
        .flatten()
        .map(|path| stamp(path))
        .collect()
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
