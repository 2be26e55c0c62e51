//! Shapes: the same scenario in one process over local links, and as five processes over sockets
//! (DESIGN section 3: one code, two shapes).

use heddle_e2e::{
    Person, World,
    cluster::{BINARIES, binaries, command},
    eventually,
    keys::Signer,
    missing,
    people::id_of,
    world::Failure,
};
use heddle_kit::{
    Link, LinkOptions,
    tls::{ClientTls, TlsOptions},
};
use heddle_proto::internal::{TakeShardsRequest, store_service_client::StoreServiceClient};
use heddle_sdk::Client;
use serde_json::json;
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};
use tonic::Code;

/// Two people chat, see each other's ticks, and read what was said before they came.
async fn two_people_chat(url: &str, signer: &Signer) -> Result<(), Failure> {
    let client = |user: &str| {
        let token = signer.token(user, json!({}));
        Client::builder()
            .address(url)
            .token(token)
            .device_id("phone")
            .build()
    };
    let (ann, ben) = (client("ann")?, client("ben")?);
    let talk = eventually("a first conversation", || async {
        ann.create_direct("ben").await.ok()
    })
    .await;
    let talk = id_of(&talk)?;
    let mut ann = Person::open(ann, "ann").await?;
    let first = ann.say(talk, "are you there?").await?;
    let mut ben = Person::open(ben, "ben").await?;
    assert_eq!(ben.hears("are you there?").await, first);
    let second = ben.say(talk, "I am").await?;
    assert_eq!((first, second), (2, 3));
    assert_eq!(ann.hears("I am").await, second);
    ann.session.mark_read(talk, second).await?;
    ben.hears_mark("ann", second, second).await;
    assert_eq!(ben.summary(talk).await?.unread_count, 0);
    let watched = ann.session.watch_presence(vec!["ben".into()]).await?;
    assert!(
        watched.iter().any(|presence| presence.online),
        "{watched:?}"
    );
    let page = ann
        .client
        .history(talk, heddle_sdk::Page::Newest, 10)
        .await?;
    assert_eq!(page.events.len(), 3);
    ann.session.close().await;
    ben.session.close().await;
    Ok(())
}

/// Everything in one process, over local links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_one_process() -> Result<(), Failure> {
    let world = World::start().await?;
    two_people_chat(&world.url(), &world.signer).await?;
    world.stop().await;
    Ok(())
}

/// Five processes on loopback, over remote links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_five_processes() -> Result<(), Failure> {
    let Some(binaries) = binaries()? else {
        return Ok(());
    };
    five_processes(&binaries, &[], None).await
}

/// The same with certificates that `heddle certs` makes: each service calls what it may, and
/// nobody else anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_five_processes_with_certificates() -> Result<(), Failure> {
    let Some(binaries) = binaries()? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let mut certs = tokio::process::Command::new(binaries.join("heddle"));
    certs.arg("certs").arg("--out").arg(dir.path());
    assert!(certs.status().await?.success());
    five_processes(&binaries, &[], Some(dir.path())).await
}

/// A service that others could reach in the clear does not start, and says what to set.
#[tokio::test]
async fn nobody_listens_in_the_clear_beyond_loopback() -> Result<(), Failure> {
    let Some(binaries) = binaries()? else {
        return Ok(());
    };
    for service in ["chat-svc", "history-svc", "presence-svc", "notify-svc"] {
        let dir = tempfile::tempdir()?;
        let listen = format!("listen={}", json!("0.0.0.0:0"));
        let mut command = command(&binaries.join(service), &[listen]);
        let ended = command.current_dir(dir.path()).output().await?;
        let said = String::from_utf8_lossy(&ended.stderr) + String::from_utf8_lossy(&ended.stdout);
        assert!(!ended.status.success(), "{service}");
        assert!(said.contains("tls.certificate"), "{service}: {said}");
    }
    Ok(())
}

/// Names another program to be history-svc, such as one over another driver.
const HISTORY_PROGRAM: &str = "HISTORY_PROGRAM";

/// The same, with the event store on a real Cassandra node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_five_processes_on_cassandra() -> Result<(), Failure> {
    let (binaries, node) = (binaries()?, std::env::var("TEST_CASSANDRA"));
    let (Some(binaries), Ok(node)) = (binaries, node) else {
        missing::loudly("TEST_CASSANDRA names no node; `cargo xtask cassandra up` starts one");
        return Ok(());
    };
    let store = [
        format!("store={}", json!("cassandra")),
        format!("cassandra.nodes={}", json!([node])),
        format!("cassandra.keyspace=e2e_{}", uuid::Uuid::new_v4().simple()),
        "cassandra.replication_factor=1".into(),
        "cassandra.accept_low_replication=true".into(),
    ];
    let history = std::env::var_os(HISTORY_PROGRAM).map(PathBuf::from);
    let history = history.unwrap_or_else(|| binaries.join("history-svc"));
    let mut migrate = command(&history, &store);
    assert!(migrate.arg("migrate").status().await?.success());
    five_processes_with(&binaries, &history, &store, None).await
}

/// Runs the scenario over binaries; `store`: what history-svc is told beside the usual.
async fn five_processes(
    binaries: &Path,
    store: &[String],
    certificates: Option<&Path>,
) -> Result<(), Failure> {
    let history = binaries.join("history-svc");
    five_processes_with(binaries, &history, store, certificates).await
}

/// The same, with this program as history-svc.
async fn five_processes_with(
    binaries: &Path,
    history: &Path,
    store: &[String],
    certificates: Option<&Path>,
) -> Result<(), Failure> {
    heddle_kit::tls::install_crypto_provider();
    let dir = tempfile::tempdir()?;
    let key = dir.path().join("public.pem");
    let signer = Signer::create(&key)?;
    let places = Places::choose(certificates)?;
    let mut processes = Vec::new();
    for service in BINARIES {
        let mut settings = places.settings(service, dir.path(), &key);
        let mut program = binaries.join(service);
        if service == "history-svc" {
            settings.extend_from_slice(store);
            program = history.to_owned();
        }
        processes.push(command(&program, &settings).spawn()?);
    }
    two_people_chat(&format!("http://{}", places.gateway), &signer).await?;
    if let Some(certificates) = certificates {
        strangers_are_refused(certificates, places.history).await?;
    }
    for process in &mut processes {
        assert_eq!(process.try_wait()?, None, "a process ended by itself");
        process.kill().await?;
    }
    Ok(())
}

/// A call to the event store as each of these.
async fn strangers_are_refused(certificates: &Path, history: SocketAddr) -> Result<(), Failure> {
    let url = format!("https://{history}");
    let call = async |who: Option<&str>| -> Result<Code, Failure> {
        let file = |name: String| Some(certificates.join(name));
        let options = TlsOptions {
            ca: file("ca.pem".into()),
            certificate: who.and_then(|who| file(format!("{who}.pem"))),
            key: who.and_then(|who| file(format!("{who}.key"))),
            ..TlsOptions::default()
        };
        let tls = ClientTls::load(&options)?;
        let link = Link::connect(&url, &LinkOptions::default(), Some(&tls))?;
        let mut store = StoreServiceClient::new(link);
        let taken = store.take_shards(TakeShardsRequest::default()).await;
        Ok(taken.map_or_else(|status| status.code(), |_| Code::Ok))
    };
    assert_eq!(call(Some("gateway")).await?, Code::PermissionDenied);
    assert_eq!(call(Some("notify-svc")).await?, Code::PermissionDenied);
    // It is let in, and told that it asks for nothing.
    assert_eq!(call(Some("chat-svc")).await?, Code::InvalidArgument);
    assert_ne!(call(None).await?, Code::Ok);
    let plain = Link::connect(&format!("http://{history}"), &LinkOptions::default(), None)?;
    let mut plain = StoreServiceClient::new(plain);
    let taken = plain.take_shards(TakeShardsRequest::default()).await;
    assert!(taken.is_err());
    Ok(())
}

/// Where each service listens.
struct Places {
    /// Where their certificates are; none: in the clear.
    certificates: Option<PathBuf>,
    gateway: SocketAddr,
    chat: SocketAddr,
    history: SocketAddr,
    presence: SocketAddr,
    notify: SocketAddr,
}

impl Places {
    /// Ports that are free now.
    fn choose(certificates: Option<&Path>) -> Result<Self, Failure> {
        let mut held = Vec::new();
        let mut free = || -> Result<SocketAddr, Failure> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let address = listener.local_addr()?;
            // Held until all are chosen, so that no two are the same.
            held.push(listener);
            Ok(address)
        };
        Ok(Self {
            certificates: certificates.map(Path::to_owned),
            gateway: free()?,
            chat: free()?,
            history: free()?,
            presence: free()?,
            notify: free()?,
        })
    }

    fn settings(&self, service: &str, dir: &Path, key: &Path) -> Vec<String> {
        let text = |field: &str, value: &str| format!("{field}={}", json!(value));
        let listen = |address: SocketAddr| text("listen", &address.to_string());
        let scheme = match self.certificates {
            Some(_) => "https",
            None => "http",
        };
        let url = |address: SocketAddr| format!("{scheme}://{address}");
        let data = dir.join("data").display().to_string();
        let mut settings = match service {
            "history-svc" => vec![
                listen(self.history),
                text("history.data_dir", &data),
                "history.disk_free_bytes_min=0".into(),
            ],
            "notify-svc" => vec![listen(self.notify)],
            "presence-svc" => vec![listen(self.presence), text("presence.data_dir", &data)],
            "chat-svc" => vec![
                listen(self.chat),
                format!("history_urls={}", json!([url(self.history)])),
                format!("notify_urls={}", json!([url(self.notify)])),
            ],
            _ => vec![
                listen(self.gateway),
                format!("chat_urls={}", json!([url(self.chat)])),
                format!("history_urls={}", json!([url(self.history)])),
                format!("presence_urls={}", json!([url(self.presence)])),
                text("gateway.auth.key_file", &key.display().to_string()),
            ],
        };
        settings.extend(self.tls(service));
        settings
    }

    /// What a service is told of certificates.
    fn tls(&self, service: &str) -> Vec<String> {
        let Some(directory) = &self.certificates else {
            return Vec::new();
        };
        let section = match service {
            "gateway" => "link_tls",
            _ => "tls",
        };
        let file = |field: &str, name: &str| {
            let path = json!(directory.join(name).display().to_string());
            format!("{section}.{field}={path}")
        };
        vec![
            file("certificate", &format!("{service}.pem")),
            file("key", &format!("{service}.key")),
            file("ca", "ca.pem"),
        ]
    }
}
