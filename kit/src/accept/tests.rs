//! Tests of `accept`: peers that say nothing, too little or the wrong thing, and too many of them.

use super::*;
use crate::testing::{SOON, until};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

async fn started(options: AcceptOptions) -> (Incoming, SocketAddr, Tasks) {
    let tasks = Tasks::new("test");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (
        Incoming::start(listener, &options, None, &tasks),
        address,
        tasks,
    )
}

fn quick() -> AcceptOptions {
    AcceptOptions {
        handshake_timeout_ms: 200,
        ..AcceptOptions::default()
    }
}

/// Waits until the other side has closed this socket without a word.
async fn closed(socket: &mut TcpStream) {
    let mut said = Vec::new();
    let read = timeout(SOON, socket.read_to_end(&mut said))
        .await
        .expect("still open");
    assert!(read.is_err() || said.is_empty(), "it said {said:?}");
}

async fn connected(address: SocketAddr, first: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(first).await.unwrap();
    socket
}

#[tokio::test]
async fn silence_and_half_a_preface_end_at_the_deadline() {
    let (_incoming, address, _tasks) = started(quick()).await;
    for first in [&b""[..], &PREFACE[..1], &PREFACE[..23]] {
        let begun = tokio::time::Instant::now();
        closed(&mut connected(address, first).await).await;
        assert!(
            begun.elapsed() >= Duration::from_millis(150),
            "cut off too early"
        );
    }
}

#[tokio::test]
async fn garbage_ends_before_the_deadline() {
    let options = AcceptOptions {
        handshake_timeout_ms: 600_000,
        ..AcceptOptions::default()
    };
    let (_incoming, address, _tasks) = started(options).await;
    for first in [
        &b"\x16\x03\x01"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/1",
    ] {
        closed(&mut connected(address, first).await).await;
    }
}

#[tokio::test]
async fn what_was_read_is_given_back() {
    let (mut incoming, address, _tasks) = started(AcceptOptions::default()).await;
    let mut socket = connected(address, &PREFACE[..10]).await;
    socket
        .write_all(&[&PREFACE[10..], b"and more"].concat())
        .await
        .unwrap();
    let mut connection = timeout(SOON, incoming.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(connection.protocol(), Protocol::Http2);
    assert_eq!(
        connection.info().remote_addr(),
        socket.local_addr().unwrap()
    );
    socket.shutdown().await.unwrap();
    let mut all = Vec::new();
    connection.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, [PREFACE, b"and more"].concat());
}

#[tokio::test]
async fn http1_passes_where_it_is_allowed() {
    let options = AcceptOptions {
        accept_http1: true,
        ..AcceptOptions::default()
    };
    let (mut incoming, address, _tasks) = started(options).await;
    let _socket = connected(address, b"POST /x HTTP/1.1\r\nhost: y\r\n").await;
    let connection = timeout(SOON, incoming.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(connection.protocol(), Protocol::Http1);
}

#[tokio::test]
async fn pending_handshakes_are_capped() {
    let options = AcceptOptions {
        pending_handshakes_max: 2,
        handshake_timeout_ms: 600_000,
        ..AcceptOptions::default()
    };
    let (mut incoming, address, tasks) = started(options).await;
    let mut silent = [connected(address, b"").await, connected(address, b"").await];
    // The accept loop and two handshakes.
    until(|| tasks.len() == 3).await;
    closed(&mut connected(address, PREFACE).await).await;
    silent[0].write_all(PREFACE).await.unwrap();
    let mut served = timeout(SOON, incoming.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    // Being served frees the place.
    let _preface = served.read_exact(&mut [0; 24]).await.unwrap();
    until(|| tasks.len() == 2).await;
    let _another = connected(address, PREFACE).await;
    assert!(timeout(SOON, incoming.next()).await.unwrap().is_some());
}

#[tokio::test]
async fn connections_are_capped_and_places_come_back() {
    for options in [
        AcceptOptions {
            connections_max: 1,
            ..AcceptOptions::default()
        },
        AcceptOptions {
            connections_per_address_max: 1,
            ..AcceptOptions::default()
        },
    ] {
        let (mut incoming, address, _tasks) = started(options).await;
        let _first = connected(address, PREFACE).await;
        let first = timeout(SOON, incoming.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        closed(&mut connected(address, PREFACE).await).await;
        drop(first);
        let _second = connected(address, PREFACE).await;
        assert!(timeout(SOON, incoming.next()).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn draining_closes_the_port_and_waits_for_no_handshake() {
    let options = AcceptOptions {
        handshake_timeout_ms: 600_000,
        ..AcceptOptions::default()
    };
    let (mut incoming, address, tasks) = started(options).await;
    let _silent = connected(address, b"").await;
    until(|| tasks.len() == 2).await;
    assert_eq!(tasks.drain(SOON).await, 0);
    assert!(incoming.next().await.is_none());
    assert!(TcpStream::connect(address).await.is_err());
}
