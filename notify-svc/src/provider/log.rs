//! Log: the provider that only says what it would send.
//!
//! One structured line per push in the process's log and, where a file is named, the same as a
//! line of JSON, which is what tests read. Invariant: neither holds a text of people.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use tonic::async_trait;

use super::{Attempt, PushProvider};
use crate::push::{Push, label};

/// Writes pushes down.
#[derive(Debug, Default)]
pub struct LogProvider {
    file: Option<Arc<File>>,
}

impl LogProvider {
    /// Appends to `file`, if one is named. Blocks.
    pub fn open(file: Option<&Path>) -> io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        Ok(Self {
            file: file.map(open).transpose()?.map(Arc::new),
        })
    }

    async fn write(&self, push: &Push) -> io::Result<()> {
        let Some(file) = self.file.clone() else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(push)?;
        line.push(b'\n');
        // One write in append mode, so that lines never mix.
        tokio::task::spawn_blocking(move || (&*file).write_all(&line)).await?
    }
}

#[async_trait]
impl PushProvider for LogProvider {
    fn name(&self) -> &'static str {
        "log"
    }

    async fn send(&self, push: &Push) -> Attempt {
        if let Err(error) = self.write(push).await {
            return Attempt::RetryLater {
                reason: format!("log file: {error}"),
                after: None,
            };
        }
        tracing::info!(
            kind = label(push.kind),
            push_id = &*push.push_id,
            user = &*push.user_id,
            device = &*push.device_id,
            conversation = %push.conversation_id,
            seq = push.seq,
            position = push.position,
            count = push.count,
            badge = push.badge,
            mentioned = push.mentioned,
            has_preview = push.preview.is_some(),
            "push"
        );
        Attempt::Delivered
    }
}
