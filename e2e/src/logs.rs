//! Logs: what this process says, our own crates at every level, kept for a scenario to look at.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};
use tracing_subscriber::fmt::MakeWriter;

/// What was said so far, by all tests of this process.
#[derive(Clone, Default)]
pub struct Logs {
    said: Arc<Mutex<Vec<u8>>>,
}

impl Logs {
    /// Listens from now on, at trace level, spans included; others' crates from INFO on, as `kit`
    /// does. One per process: asked again, it is the same.
    pub fn listen() -> Self {
        static LOGS: OnceLock<Logs> = OnceLock::new();
        let start = || {
            let logs = Logs::default();
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter("info,heddle=trace,audit=trace")
                .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
                .with_ansi(false)
                .with_writer(logs.clone())
                .finish();
            if tracing::subscriber::set_global_default(subscriber).is_err() {
                panic!("this process listens to its logs already, in another way");
            }
            logs
        };
        LOGS.get_or_init(start).clone()
    }

    /// All that was said.
    pub fn text(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said).into_owned()
    }
}

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
