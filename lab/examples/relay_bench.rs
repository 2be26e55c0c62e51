//! Measures the bare relays by themselves: `cargo run --release -p heddle-lab --example
//! relay_bench`.
//!
//! Starts itself again as the server, so that the server's CPU can be told from the driver's.
//! Prints one JSON line per mode and load.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use heddle_lab::load::{self, Plan};
use heddle_lab::measure::{probe_fdatasync, raise_open_files};
use heddle_lab::process::{Ready, Server, ServerSpec, free_port};
use heddle_lab::relay::client::RelayTransport;
use heddle_lab::relay::{Mode, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [mode, port, dir] => {
            let mode = if mode == "durable" {
                Mode::Durable
            } else {
                Mode::Bare
            };
            let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
            Ok(serve(listener, mode, Path::new(dir), CancellationToken::new()).await?)
        }
        _ => measure().await,
    }
}

async fn measure() -> Outcome {
    if let Some(note) = raise_open_files(4096).note() {
        eprintln!("{note}");
    }
    let dir = tempfile::tempdir_in(".")?;
    println!(
        "{}",
        serde_json::to_string(&probe_fdatasync(dir.path(), 200)?)?
    );
    for mode in ["bare", "durable"] {
        let port = free_port()?;
        let data = dir.path().display().to_string();
        let server = Server::start(ServerSpec {
            within: Vec::new(),
            program: std::env::current_exe()?,
            args: vec![mode.into(), port.to_string(), data],
            env: Vec::new(),
            log: dir.path().join("relay-server.log"),
            ready: Ready::Port(([127, 0, 0, 1], port).into()),
            ready_timeout: Duration::from_secs(10),
        })
        .await?;
        let transport = RelayTransport::new(&format!("http://127.0.0.1:{port}"))?;
        let loads = [
            ("direct", Plan::pairs(200, 16)),
            ("paced", Plan::paced_pairs(200, 2000)),
            ("group", Plan::group(100, 100)),
        ];
        for (name, mut plan) in loads {
            plan.duration = Duration::from_secs(5);
            plan.server_pid = server.pid();
            let report = serde_json::to_string(&load::run(&transport, &plan).await?)?;
            println!("{{\"relay\":\"{mode}\",\"load\":\"{name}\",\"report\":{report}}}");
        }
    }
    Ok(())
}
