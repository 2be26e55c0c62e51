//! Server: real redis-server processes for tests, one or a cluster of three.
//!
//! Used by `tests` and `figures`. Each has a port and a directory of its own.
//!
//! Invariant: a server is killed with its rig; a machine without redis-server is told so loudly,
//! and where nobody watches (`CI`) that is a failure.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{Cmd, FromRedisValue, cmd};
use tempfile::TempDir;

use crate::config::PresenceConfig;

pub const SOON: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);
const PASSWORD: &str = "open sesame";
/// The password as it stands in a URL.
const PASSWORD_IN_URL: &str = "open%20sesame";

/// A server that a test starts, kills and starts again.
pub struct Server {
    pub port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
    dir: TempDir,
    is_tls: bool,
}

/// `None`, said loudly, where redis-server is missing.
pub fn installed() -> Option<()> {
    let version = Command::new("redis-server")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if version.is_ok_and(|status| status.success()) {
        return Some(());
    }
    let in_ci = std::env::var("CI").is_ok_and(|value| !matches!(&*value, "" | "0" | "false"));
    let what = "redis-server is not installed, so presence on Redis is not tested; install Redis 7 \
                (Debian: apt-get install redis-server)";
    assert!(!in_ci, "{what}");
    eprintln!("SKIPPED, NOTHING IS PROVED: {what}");
    None
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

impl Server {
    /// One that asks for a password and keeps what it has in a file.
    pub async fn start() -> Option<Self> {
        Self::start_with(&["--requirepass", PASSWORD, "--masterauth", PASSWORD]).await
    }

    pub async fn start_with(arguments: &[&str]) -> Option<Self> {
        installed()?;
        let mut server = Self::prepared(arguments);
        server.run().await;
        Some(server)
    }

    /// Not started yet.
    pub fn prepared(arguments: &[&str]) -> Self {
        Self {
            port: free_port(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            child: None,
            dir: tempfile::tempdir().unwrap(),
            is_tls: false,
        }
    }

    /// One that speaks TLS only.
    pub async fn start_tls() -> Option<Self> {
        installed()?;
        let mut server = Self::prepared(&["--requirepass", PASSWORD, "--tls-auth-clients", "no"]);
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
        let key = server.dir.path().join("key.pem");
        std::fs::write(server.certificate(), made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        for (option, path) in [
            ("--tls-cert-file", server.certificate()),
            ("--tls-ca-cert-file", server.certificate()),
            ("--tls-key-file", key),
        ] {
            let path = path.display().to_string();
            server.arguments.extend([option.to_owned(), path]);
        }
        server.is_tls = true;
        server.run().await;
        Some(server)
    }

    fn certificate(&self) -> PathBuf {
        self.dir.path().join("certificate.pem")
    }

    pub async fn run(&mut self) {
        let (port, none) = (self.port.to_string(), "0".to_owned());
        let (plain, tls) = if self.is_tls {
            (none, port)
        } else {
            (port, none)
        };
        let mut command = Command::new("redis-server");
        command.args(["--port", &plain, "--tls-port", &tls]);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        command
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.arguments);
        command.stdout(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        until("redis-server listens", async || {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        if !self.is_tls {
            // While it reads its file it listens already, and answers LOADING.
            until("redis-server answers", async || {
                self.try_ask::<String>(&cmd("PING")).await.is_ok()
            })
            .await;
        }
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops it where it is, sockets open, as a machine does that is out of reach; or goes on.
    pub fn freeze(&self, is_frozen: bool) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let signal = if is_frozen { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(sent.unwrap().success());
    }

    fn has_password(&self) -> bool {
        self.arguments.iter().any(|argument| argument == PASSWORD)
    }

    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        let password = if self.has_password() {
            format!(":{PASSWORD_IN_URL}@")
        } else {
            String::new()
        };
        format!("{scheme}://{password}127.0.0.1:{}", self.port)
    }

    /// Settings of presence that name this server.
    pub fn config(&self) -> PresenceConfig {
        PresenceConfig {
            redis_ca: self.is_tls.then(|| self.certificate()),
            ..config(&[self])
        }
    }

    /// Asks the server past presence.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> T {
        self.try_ask(command).await.unwrap()
    }

    async fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        command.query_async(&mut connection).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Settings of presence that name these servers.
pub fn config(servers: &[&Server]) -> PresenceConfig {
    PresenceConfig {
        redis_urls: servers.iter().map(|server| server.url().into()).collect(),
        redis_response_timeout_ms: 10_000,
        redis_connect_timeout_ms: 10_000,
        ..PresenceConfig::default()
    }
}

/// Three masters that share the slots.
pub async fn cluster() -> Option<Vec<Server>> {
    installed()?;
    const SLOTS: u32 = 16_384;
    let mut servers = Vec::new();
    for at in 0..3 {
        // The bus has a free port too; the default, port + 10,000, may be out of range.
        let bus = free_port().to_string();
        let options = ["--cluster-enabled", "yes", "--cluster-port", &bus];
        let server = Server::start_with(&options).await?;
        let (first, last) = (SLOTS * at / 3, SLOTS * (at + 1) / 3 - 1);
        let mut take = cmd("CLUSTER");
        take.arg("ADDSLOTSRANGE").arg(first).arg(last);
        server.ask::<()>(&take).await;
        servers.push((server, bus));
    }
    let (first, _) = &servers[0];
    for (other, bus) in &servers[1..] {
        let mut meet = cmd("CLUSTER");
        meet.arg("MEET").arg("127.0.0.1").arg(other.port).arg(bus);
        first.ask::<()>(&meet).await;
    }
    for (server, _) in &servers {
        let mut info = cmd("CLUSTER");
        info.arg("INFO");
        until("the cluster is whole", async || {
            let info: String = server.ask(&info).await;
            info.contains("cluster_state:ok") && info.contains("cluster_size:3")
        })
        .await;
    }
    Some(servers.into_iter().map(|(server, _)| server).collect())
}

/// Waits until a condition holds, for long.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            // tidy: allow-sleep the pause between two looks at a condition
            tokio::time::sleep(PAUSE).await;
        }
    };
    let waited = tokio::time::timeout(SOON, waiting).await;
    assert!(waited.is_ok(), "not in time: {what}");
}
