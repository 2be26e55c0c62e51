//! SIGKILL at random instants under the mixed workload.
//!
//! The twin of [`super::power`]; [`super::cycles`] does all but the killing. What the page cache
//! holds survives this fault.

use crate::target::{HeddleServer, ServerOptions};
use rand::rngs::StdRng;

use super::FaultError;
use super::cycles::{self, CycleOptions, Fault};

struct Kill;

impl Fault for Kill {
    const NAME: &'static str = "kill";

    async fn strike(
        &mut self,
        server: &mut HeddleServer,
        _: &mut StdRng,
    ) -> Result<(), FaultError> {
        server.kill();
        Ok(())
    }
}

/// Runs all cycles and prints the result; false when something was broken.
pub async fn run(options: &CycleOptions) -> Result<bool, FaultError> {
    let mut server = HeddleServer::start(options.program.clone(), ServerOptions::default()).await?;
    cycles::run(&mut Kill, &mut server, options).await
}
