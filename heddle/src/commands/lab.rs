//! `heddle replay | bench | check`: ways into `heddle-lab`, which measures and judges.

use crate::commands::check;
use crate::failure::{Failure, Outcome};
use crate::{keys, paths};
use clap::Subcommand;
use heddle_lab::bench::BenchOptions;
use heddle_lab::replay::ReplayOptions;
use heddle_lab::target::TargetOptions;
use std::process::ExitCode;

/// What measures and judges.
#[derive(Subcommand)]
pub enum LabCommand {
    /// Replay a day of an IRC channel through real sessions and check what everybody got
    #[command(after_help = "Examples:
  heddle replay 2007-06-04.txt
  heddle replay 2007-06-04.txt --devices 3 --kill-every 250 --json
  heddle replay 2007-06-04.txt --shape cluster --kill-every 250
  heddle replay 2007-06-04.txt --target http://127.0.0.1:7447 --key ./data/signing-key.pem")]
    Replay(ReplayOptions),
    /// Measure a server: direct, paced, group, idle, resume or stalled
    #[command(after_help = "Examples:
  heddle bench direct
  heddle bench paced --json
  heddle bench stalled --rounds 1 --seconds 20
  heddle bench idle --target http://127.0.0.1:7447 --pid 4711 --sessions 1000 --seconds 60")]
    Bench(BenchOptions),
    Check(check::CheckArgs),
}

/// Runs it on all cores; exit 0 only if all held.
pub fn run(command: LabCommand) -> Outcome<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    let held = match command {
        LabCommand::Replay(mut options) => {
            sign_in(&mut options.target);
            runtime
                .block_on(heddle_lab::cli::replay(&options))
                .map_err(Failure::new)?
        }
        LabCommand::Bench(mut options) => {
            sign_in(&mut options.target);
            runtime
                .block_on(heddle_lab::cli::bench(&options))
                .map_err(Failure::new)?
        }
        LabCommand::Check(args) => check::run(&args)?,
    };
    match held {
        true => Ok(ExitCode::SUCCESS),
        false => Ok(ExitCode::FAILURE),
    }
}

/// Users of a server on this machine are signed in with its own key, unless another is named.
fn sign_in(options: &mut TargetOptions) {
    let key = keys::private_path(&paths::default_data_dir());
    if options.target.is_some() && options.key.is_none() && key.exists() {
        options.key = Some(key);
    }
}
