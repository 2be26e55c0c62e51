//! A disk that fills up and is emptied again, twice, under the mixed workload; then SIGKILL.
//!
//! A twin of [`super::kill`]; [`super::cycles`] does all but the filling. While the disk is full
//! the store refuses each commit, in every shard and in the middle of fan-outs, and goes on by
//! itself once there is room: nothing may be lost, doubled or told in another order for that.
//!
//! Invariant: the disk is never quite full, since the server refuses before that.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

use super::FaultError;
use super::cycles::{self, CycleOptions, Fault};
use super::image::Image;
use crate::target::{HeddleServer, ServerOptions};

/// How often the disk fills up before the kill.
const FILLINGS: usize = 2;
/// How long it stays full, in milliseconds; the server looks four times a second.
const FULL_MS: std::ops::Range<u64> = 300..900;
/// How long there is room after that, in milliseconds; for a second after a refusal shards take
/// nothing new.
const ROOM_MS: std::ops::Range<u64> = 200..2_000;

struct Full {
    image: Image,
}

impl Fault for Full {
    type Subject = HeddleServer;

    fn name(&self) -> String {
        "full".to_owned()
    }

    async fn strike(
        &mut self,
        server: &mut HeddleServer,
        chance: &mut StdRng,
    ) -> Result<(), FaultError> {
        for _ in 0..FILLINGS {
            self.image.fill()?;
            tokio::time::sleep(Duration::from_millis(chance.random_range(FULL_MS))).await;
            self.image.empty()?;
            tokio::time::sleep(Duration::from_millis(chance.random_range(ROOM_MS))).await;
        }
        server.kill();
        Ok(())
    }
}

/// Runs all cycles and prints the result; false when something was broken.
pub async fn run(options: &CycleOptions) -> Result<bool, FaultError> {
    tokio::select! {
        ran = all(options) => ran,
        // Nothing is to stay mounted.
        _ = tokio::signal::ctrl_c() => Err(FaultError::Interrupted),
    }
}

async fn all(options: &CycleOptions) -> Result<bool, FaultError> {
    let image = Image::create()?;
    let place = ServerOptions {
        data: Some(image.path().join("data")),
        ..ServerOptions::default()
    };
    let mut full = Full { image };
    // Dropped before the image, which it holds files of.
    let mut server = HeddleServer::start(options.program.clone(), place).await?;
    cycles::run(&mut full, &mut server, options).await
}
