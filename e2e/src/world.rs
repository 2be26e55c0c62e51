//! A world: one whole server on a port of its own and in a directory of its own.
//!
//! The server runs in the test's own process, over local links, behind a real socket.
//! [`World::restart`] drains it and starts it again on the same port and data.

use crate::{keys::Signer, people::Person};
use heddle::serve::assemble::{self, ServeConfig};
use heddle_history::{
    store::EventStore,
    testing::{Faults, FaultyStore},
};
use heddle_kit::Tasks;
use heddle_sdk::Client;
use serde_json::json;
use std::{
    error::Error,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Once},
    time::Duration,
};
use tempfile::TempDir;

/// How long a server may take to drain.
const GRACE: Duration = Duration::from_secs(5);

/// Anything that goes wrong in a scenario's set-up.
pub type Failure = Box<dyn Error + Send + Sync>;

/// One server, its data and its keys.
pub struct World {
    dir: TempDir,
    config: ServeConfig,
    /// Signs tokens that this server takes.
    pub signer: Signer,
    tasks: Tasks,
    address: SocketAddr,
}

impl World {
    /// A server with default settings.
    pub async fn start() -> Result<Self, Failure> {
        Self::start_with(|_| {}).await
    }

    /// A server whose settings are changed first.
    pub async fn start_with(change: impl FnOnce(&mut ServeConfig)) -> Result<Self, Failure> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(heddle_kit::tls::install_crypto_provider);
        let dir = tempfile::tempdir()?;
        let public = dir.path().join("public.pem");
        let signer = Signer::create(&public)?;
        let mut config = ServeConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ..ServeConfig::default()
        };
        config.history.data_dir = dir.path().join("data");
        config.history.disk_free_bytes_min = 0;
        config.gateway.auth.key_file = Some(public);
        // Scenarios count what is there, and nobody else is to say anything.
        config.gateway.canary_interval_ms = 0;
        config.notify.log_file = Some(dir.path().join("pushes.jsonl"));
        change(&mut config);
        let tasks = Tasks::new("world");
        let address = assemble::start(config.clone(), &tasks).await?;
        config.listen = address;
        Ok(Self {
            dir,
            config,
            signer,
            tasks,
            address,
        })
    }

    /// Drains the server and starts it again on a store that fails on purpose.
    pub async fn restart_faulty(&mut self) -> Result<Arc<Faults>, Failure> {
        self.restart_planted(|_| {}).await
    }

    /// The same, with a fault that is there before the server reads anything.
    pub async fn restart_planted(
        &mut self,
        plant: impl Fn(&Faults),
    ) -> Result<Arc<Faults>, Failure> {
        self.stop().await;
        self.tasks = Tasks::new("world");
        let mut planted = None;
        let wrap = |store: Arc<dyn EventStore>| -> Arc<dyn EventStore> {
            let store = FaultyStore::new(store);
            plant(store.faults());
            planted = Some(store.faults().clone());
            Arc::new(store)
        };
        assemble::start_with(self.config.clone(), &self.tasks, wrap).await?;
        Ok(planted.ok_or("the server started without a store")?)
    }

    /// Drains the server and starts it again.
    pub async fn restart(&mut self) -> Result<(), Failure> {
        self.stop().await;
        self.start_again().await
    }

    /// Drains the server and starts it again with settings changed.
    pub async fn restart_with(
        &mut self,
        change: impl FnOnce(&mut ServeConfig),
    ) -> Result<(), Failure> {
        self.stop().await;
        change(&mut self.config);
        self.start_again().await
    }

    /// Starts a server that was stopped, on the same port.
    pub async fn start_again(&mut self) -> Result<(), Failure> {
        self.tasks = Tasks::new("world");
        assemble::start(self.config.clone(), &self.tasks).await?;
        Ok(())
    }

    /// Drains the server.
    pub async fn stop(&self) {
        self.drain().await;
    }

    /// Drains the server; how many of its tasks did not end by themselves.
    pub async fn drain(&self) -> usize {
        self.tasks.drain(GRACE).await
    }

    /// Where the server listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address as a socket address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.config.history.data_dir.clone()
    }

    /// The public half of the signer's key, as PEM.
    pub fn public_key(&self) -> PathBuf {
        self.dir.path().join("public.pem")
    }

    /// Where the log provider writes pushes, a JSON line each.
    pub fn pushes(&self) -> PathBuf {
        self.dir.path().join("pushes.jsonl")
    }

    /// A client of one user's device.
    pub async fn client(&self, user_id: &str, device_id: &str) -> Result<Client, Failure> {
        let token = self.signer.token(user_id, json!({}));
        self.client_with(token, device_id).await
    }

    /// A client with a token of its own.
    pub async fn client_with(&self, token: String, device_id: &str) -> Result<Client, Failure> {
        let builder = Client::builder()
            .address(self.url())
            .token(token)
            .device_id(device_id);
        Ok(builder.connect().await?)
    }

    /// A user's device with an open session, in the foreground, from the beginning of the mailbox.
    pub async fn person(&self, user_id: &str, device_id: &str) -> Result<Person, Failure> {
        Person::open(self.client(user_id, device_id).await?, user_id).await
    }
}
