//! Power cuts at random instants under the mixed workload.
//!
//! The twin of [`super::kill`]; [`super::cycles`] does all but the cut. The data directory lies on
//! an [`Image`]; each run begins with the [`control`], so that no run counts in which a cut would
//! have lost nothing.
//!
//! Invariant: the server says nothing after the cut. A sync that is under way may be told that it
//! succeeded as the file system goes down, which with real power nobody would live to hear; so the
//! server is halted first, its system calls under way, and killed after.

use clap::Args;
use rand::rngs::StdRng;

use super::FaultError;
use super::control;
use super::cycles::{self, CycleOptions, Fault};
use super::image::Image;
use crate::target::{HeddleServer, ServerOptions};

/// How often, and what.
#[derive(Clone, Debug, Args)]
pub struct PowerOptions {
    #[command(flatten)]
    cycles: CycleOptions,
    /// Only show that a cut loses what was not synced, and nothing else
    #[arg(long)]
    control: bool,
}

struct Power {
    image: Image,
}

impl Fault for Power {
    type Subject = HeddleServer;

    fn name(&self) -> String {
        "power".to_owned()
    }

    async fn strike(
        &mut self,
        server: &mut HeddleServer,
        _: &mut StdRng,
    ) -> Result<(), FaultError> {
        server.halt()?;
        self.image.cut()?;
        server.kill();
        self.image.power_on()
    }
}

/// Runs all cycles and prints the result; false when something was broken.
pub async fn run(options: &PowerOptions) -> Result<bool, FaultError> {
    tokio::select! {
        ran = all(options) => ran,
        // Nothing is to stay mounted.
        _ = tokio::signal::ctrl_c() => Err(FaultError::Interrupted),
    }
}

async fn all(options: &PowerOptions) -> Result<bool, FaultError> {
    let mut image = Image::create()?;
    let control = control::run(&mut image)?.verify()?;
    if options.control {
        println!("{}", serde_json::to_string(&control).unwrap_or_default());
        return Ok(true);
    }
    let place = ServerOptions {
        data: Some(image.path().join("data")),
        ..ServerOptions::default()
    };
    let mut power = Power { image };
    // Dropped before the image, which it holds files of.
    let mut server = HeddleServer::start(options.cycles.program.clone(), place).await?;
    cycles::run(&mut power, &mut server, &options.cycles).await
}
