//! Tests of `run`: lives that end well, badly and early.

use super::*;

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
