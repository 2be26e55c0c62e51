//! A `heddle serve` of our own: on a port and a data directory that stay over restarts.
//!
//! Invariant: what differs from the defaults is told in [`HeddleServer::raised`], so that no figure
//! hides a limit that was lifted for it.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::{Target, TargetError, TokenMint};
use crate::process::{Ready, Server, ServerSpec, free_port};

/// How long a start may take, recovery included.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// What a server of our own is given.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Settings that differ from the defaults: environment variable, value.
    pub settings: Vec<(&'static str, String)>,
    /// More of them, as `--set` takes them.
    pub arguments: Vec<String>,
    /// Where its data lies; none: a temporary directory that goes with the server.
    pub data: Option<PathBuf>,
}

impl ServerOptions {
    /// Members of a group.
    #[must_use]
    pub fn group_members_max(mut self, members: usize) -> ServerOptions {
        let members = members.max(100).to_string();
        self.settings
            .push(("HEDDLE_GATEWAY__LIMITS__GROUP_MEMBERS_MAX", members));
        self
    }

    /// No bound on how often users and devices call.
    #[must_use]
    pub fn without_rates(mut self) -> ServerOptions {
        for name in [
            "HEDDLE_GATEWAY__RATES__USER_PER_SECOND",
            "HEDDLE_GATEWAY__RATES__DEVICE_PER_SECOND",
        ] {
            self.settings.push((name, "0".into()));
        }
        self
    }
}

/// A running `heddle serve`, or the place of one between a kill and a restart.
#[derive(Debug)]
pub struct HeddleServer {
    server: Server,
    target: Target,
    data: PathBuf,
    raised: Vec<String>,
    _dir: TempDir,
}

impl HeddleServer {
    /// Starts one. `program` is the `heddle` binary; without it, this program or one beside it.
    pub async fn start(
        program: Option<PathBuf>,
        options: ServerOptions,
    ) -> Result<HeddleServer, TargetError> {
        let io = |what| move |error| TargetError::Io { what, error };
        let dir = TempDir::new().map_err(io("a temporary directory"))?;
        let data = options.data.unwrap_or_else(|| dir.path().join("data"));
        std::fs::create_dir_all(&data).map_err(io("the data directory"))?;
        let secret: [u8; 32] = rand::random();
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let secret_file = dir.path().join("secret");
        std::fs::write(&secret_file, &secret).map_err(io("the tokens' secret"))?;
        let port = free_port().map_err(io("a free port"))?;
        let program = match program {
            Some(program) => program,
            None => find_program().map_err(io("the heddle program"))?,
        };
        let mut env = vec![(
            "HEDDLE_GATEWAY__AUTH__HS256_SECRET_FILE".to_owned(),
            secret_file.display().to_string(),
        )];
        // What is measured and judged is the load's alone.
        env.push(("HEDDLE_GATEWAY__CANARY_INTERVAL_MS".into(), "0".into()));
        let settings = options.settings.into_iter();
        let raised: Vec<(String, String)> = settings.map(|(k, v)| (k.to_owned(), v)).collect();
        env.extend(raised.iter().cloned());
        let mut args = vec![
            "serve".to_owned(),
            "--json".into(),
            "--listen".into(),
            format!("127.0.0.1:{port}"),
            "--data".into(),
            data.display().to_string(),
        ];
        let more = options.arguments.into_iter();
        args.extend(more.flat_map(|setting| ["--set".into(), setting]));
        let spec = ServerSpec {
            within: Vec::new(),
            program,
            args,
            env,
            log: dir.path().join("server.log"),
            ready: Ready::Line("\"listening\"".into()),
            ready_timeout: READY_TIMEOUT,
        };
        let target = Target {
            url: format!("http://127.0.0.1:{port}"),
            others: Vec::new(),
            tokens: TokenMint::secret(secret.as_bytes()),
        };
        Ok(HeddleServer {
            server: Server::start(spec).await?,
            target,
            data,
            raised: raised.iter().map(|(k, v)| format!("{k}={v}")).collect(),
            _dir: dir,
        })
    }

    /// Where it is and how to sign in.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.pid()
    }

    /// Its data directory.
    pub fn data(&self) -> &std::path::Path {
        &self.data
    }

    /// SIGSTOP; returns when none of its threads can say anything any more, though some may be
    /// within a system call.
    pub fn halt(&self) -> Result<(), TargetError> {
        Ok(self.server.halt()?)
    }

    /// SIGKILL; returns when it is gone.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again, on the same port and data.
    pub async fn restart(&mut self) -> Result<(), TargetError> {
        Ok(self.server.restart().await?)
    }

    /// Settings that were given to it.
    pub fn raised(&self) -> &[String] {
        &self.raised
    }

    /// What this incarnation has said so far.
    pub fn log(&self) -> String {
        self.server.log().unwrap_or_default()
    }
}

/// This program if it is `heddle`, else the one beside it.
fn find_program() -> std::io::Result<PathBuf> {
    let this = std::env::current_exe()?;
    match this.file_stem().is_some_and(|name| name == "heddle") {
        true => Ok(this),
        false => Ok(this.with_file_name("heddle")),
    }
}
