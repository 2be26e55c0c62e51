//! Tests of `run`: lives that end well, badly and early.

use super::*;
use crate::link::check_urls;
use crate::tls::{self, TlsOptions};
use clap::Parser as _;

crate::config! {
    /// A process.
    pub struct TestProcess {
        /// Where the others are.
        pub urls: Vec<String> = vec!["http://127.0.0.1:1".into()],
    sections
        /// The process.
        pub process: ProcessOptions,
    }
}

impl ProcessConfig for TestProcess {
    fn process(&self) -> &ProcessOptions {
        &self.process
    }

    fn check(&self) -> Result<(), StartError> {
        check_urls("urls", &self.urls, &TlsOptions::default())?;
        Ok(())
    }
}

fn exits(code: ExitCode, expected: u8) {
    assert_eq!(
        format!("{code:?}"),
        format!("{:?}", ExitCode::from(expected))
    );
}

#[test]
fn a_process_ends_when_its_service_asks_for_it() {
    let _alone = crate::testing::TELEMETRY.blocking_lock();
    let code = block_on(
        "test",
        &ProcessOptions::default(),
        7,
        async |context: Context<i32>| {
            assert_eq!(context.config, 7);
            let tasks = context.tasks.child("service");
            let ending = tasks.clone();
            tasks.spawn("short", async move { ending.end_process() });
            Ok(())
        },
    );
    exits(code, EXIT_OK);
}

#[test]
fn the_death_of_a_task_ends_the_process() {
    let _alone = crate::testing::TELEMETRY.blocking_lock();
    let code = block_on(
        "test",
        &ProcessOptions::default(),
        (),
        async |context: Context<()>| {
            context
                .tasks
                .child("service")
                .spawn("boom", async { Err::<(), _>("on purpose") });
            Ok(())
        },
    );
    exits(code, EXIT_FAILED);
}

#[test]
fn a_start_that_fails_is_told_and_drained() {
    let _alone = crate::testing::TELEMETRY.blocking_lock();
    let code = block_on(
        "test",
        &ProcessOptions::default(),
        (),
        async |_: Context<()>| Err("the port is taken".into()),
    );
    exits(code, EXIT_FAILED);
}

#[test]
fn settings_that_can_be_read_are_checked_too() {
    let of = |set: &str| settings::<TestProcess>(&Flags::parse_from(["test", "--set", set]));
    assert_eq!(of("urls=['http://[::1]:2']").unwrap().urls.len(), 1);
    for wrong in ["urls=['x']", "urls=[]"] {
        let error = of(wrong).err().unwrap().to_string();
        assert!(error.starts_with("urls: "), "{error}");
    }
}

#[test]
fn settings_found_wrong_by_a_start_have_their_exit_code() {
    let _alone = crate::testing::TELEMETRY.blocking_lock();
    let code = block_on(
        "test",
        &ProcessOptions::default(),
        (),
        async |context: Context<()>| {
            let options = TlsOptions {
                ca: Some("/no/such.pem".into()),
                ..TlsOptions::default()
            };
            let error = tls::links("link_tls", &options, &context.tasks).unwrap_err();
            Err(error.into())
        },
    );
    exits(code, EXIT_CONFIG);
}
