//! Processes are shells here: what matters is their life, not what they serve.

use super::*;
use std::net::TcpListener;

const SOON: Duration = Duration::from_secs(20);

fn shell(dir: &Path, script: &str) -> ServerSpec {
    ServerSpec {
        within: Vec::new(),
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("NAME".into(), "loom".into())],
        log: dir.join("server.log"),
        ready: Ready::Line("ready".into()),
        ready_timeout: SOON,
    }
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn a_server_is_started_killed_and_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let script = "echo start >>\"$0.count\"; echo $NAME is ready; exec sleep 1000";
    let mut spec = shell(dir.path(), script);
    spec.args
        .push(dir.path().join("data").display().to_string());
    let mut server = Server::start(spec).await.unwrap();
    let first = server.pid().unwrap();
    assert!(server.is_running() && server.log().unwrap().contains("loom is ready"));
    server.kill();
    assert!(!server.is_running() && !is_alive(first));
    server.restart().await.unwrap();
    let second = server.pid().unwrap();
    assert_ne!(first, second);
    assert_eq!(
        (server.starts(), server.log().unwrap().lines().count()),
        (2, 1)
    );
    let count = std::fs::read_to_string(dir.path().join("data.count")).unwrap();
    assert_eq!(count.lines().count(), 2);
    drop(server);
    assert!(!is_alive(second), "a dropped server is killed and reaped");
}

#[tokio::test]
async fn terminating_gives_the_status_and_has_a_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let polite = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
    let mut server = Server::start(shell(dir.path(), polite)).await.unwrap();
    assert_eq!(server.terminate(SOON).await.unwrap().code(), Some(7));
    assert!(server.pause().is_err(), "there is nobody to pause");
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
    let mut server = Server::start(shell(dir.path(), deaf)).await.unwrap();
    let error = server
        .terminate(Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not gone"), "{error}");
    assert!(server.is_running());
}

#[tokio::test]
async fn a_paused_server_does_nothing_until_it_is_resumed() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing is forked: a parent that waits for its child to start is halted, but not stopped.
    let counting = "echo ready; trap 'echo got it' USR1; while :; do :; done";
    let mut server = Server::start(shell(dir.path(), counting)).await.unwrap();
    server.halt().unwrap();
    let stat = format!("/proc/{}/stat", server.pid().unwrap());
    assert!(std::fs::read_to_string(&stat).unwrap().contains(") T "));
    server.signal(Signal::USR1).unwrap();
    assert!(server.is_running() && !server.log().unwrap().contains("got it"));
    server.resume().unwrap();
    server.wait_for_line("got it", SOON).await.unwrap();
}

#[tokio::test]
async fn one_that_ends_or_never_gets_ready_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let error = Server::start(shell(dir.path(), "echo no disk >&2; exit 3"))
        .await
        .unwrap_err();
    assert!(matches!(&error, ProcessError::Ended { log_tail, .. } if log_tail == "no disk\n"));
    let mut slow = shell(dir.path(), "echo still busy; exec sleep 1000");
    slow.ready_timeout = Duration::from_millis(300);
    let error = Server::start(slow).await.unwrap_err().to_string();
    assert!(
        error.contains("still busy") && error.contains("not ready within"),
        "{error}"
    );
    let mut missing = shell(dir.path(), "");
    missing.program = dir.path().join("missing");
    assert!(matches!(
        Server::start(missing).await,
        Err(ProcessError::Io { .. })
    ));
}

#[tokio::test]
async fn a_port_that_takes_connections_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut spec = shell(dir.path(), "exec sleep 1000");
    spec.ready = Ready::Port(listener.local_addr().unwrap());
    assert!(Server::start(spec).await.unwrap().is_running());
}
