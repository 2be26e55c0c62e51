//! Preface: the first bytes of a connection, and what they make it.
//!
//! [`super::Incoming`] reads them under its deadline and replays them to the HTTP engine.
//!
//! Invariant: never reads past what it needs to decide by more than one read, never holds more than
//! [`REQUEST_LINE_BYTES_MAX`], and gives garbage up at its first wrong byte.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Protocol;

/// What every HTTP/2 client says first (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The methods that gRPC-Web, and browsers asking for permission, begin with.
const HTTP1_METHODS: [&[u8]; 5] = [b"POST ", b"OPTIONS ", b"GET ", b"HEAD ", b"PUT "];
/// The longest HTTP/1 request line that may pass.
const REQUEST_LINE_BYTES_MAX: usize = 4 * 1024;

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Is(Protocol),
    Unfinished,
    Garbage,
}

/// Reads until the protocol is known. `None`: garbage, or the peer went away.
pub(super) async fn read<R>(io: &mut R, accept_http1: bool) -> Option<(Protocol, Bytes)>
where
    R: AsyncRead + Unpin,
{
    let mut bytes = BytesMut::with_capacity(HTTP2.len());
    loop {
        match judge(&bytes, accept_http1) {
            Verdict::Is(protocol) => return Some((protocol, bytes.freeze())),
            Verdict::Garbage => return None,
            Verdict::Unfinished if io.read_buf(&mut bytes).await.ok()? == 0 => return None,
            Verdict::Unfinished => {}
        }
    }
}

fn judge(bytes: &[u8], accept_http1: bool) -> Verdict {
    if bytes.starts_with(HTTP2) {
        return Verdict::Is(Protocol::Http2);
    }
    if HTTP2.starts_with(bytes) {
        return Verdict::Unfinished;
    }
    let http1 = HTTP1_METHODS
        .iter()
        .any(|method| begins_alike(bytes, method));
    if !accept_http1 || !http1 || bytes.len() > REQUEST_LINE_BYTES_MAX {
        return Verdict::Garbage;
    }
    if bytes.windows(2).any(|pair| pair == b"\r\n") {
        return Verdict::Is(Protocol::Http1);
    }
    Verdict::Unfinished
}

/// Whether one of the two begins with the other.
fn begins_alike(bytes: &[u8], method: &[u8]) -> bool {
    let shorter = bytes.len().min(method.len());
    bytes[..shorter] == method[..shorter]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn http2_is_known_by_its_whole_preface_only() {
        for end in 0..HTTP2.len() {
            assert_eq!(judge(&HTTP2[..end], true), Verdict::Unfinished);
        }
        assert_eq!(judge(HTTP2, false), Verdict::Is(Protocol::Http2));
        assert_eq!(judge(b"PRI * HTTP/2.1", true), Verdict::Garbage);
    }

    #[test]
    fn http1_passes_only_where_allowed_and_with_a_whole_line() {
        let line = b"POST /x HTTP/1.1\r\n";
        assert_eq!(judge(line, true), Verdict::Is(Protocol::Http1));
        assert_eq!(judge(line, false), Verdict::Garbage);
        assert_eq!(judge(&line[..10], true), Verdict::Unfinished);
        assert_eq!(judge(b"P", true), Verdict::Unfinished);
        assert_eq!(judge(b"DELETE / HTTP/1.1\r\n", true), Verdict::Garbage);
        let endless = [b"GET /".as_slice(), &[b'a'; REQUEST_LINE_BYTES_MAX]].concat();
        assert_eq!(judge(&endless, true), Verdict::Garbage);
    }

    proptest! {
        /// Cutting the bytes in other places changes nothing, and nothing read is lost.
        #[test]
        fn what_is_read_is_replayed(
            rest in prop::collection::vec(any::<u8>(), 0..64), cut in 1..90usize
        ) {
            let sent = [HTTP2, &rest].concat();
            let cut = cut.min(sent.len());
            let mut io = sent[..cut].chain(&sent[cut..]);
            let read = futures_util::FutureExt::now_or_never(read(&mut io, false)).unwrap();
            let (protocol, bytes) = read.unwrap();
            prop_assert_eq!(protocol, Protocol::Http2);
            prop_assert!(sent.starts_with(&bytes));
        }

        #[test]
        fn random_bytes_never_pass(bytes in prop::collection::vec(any::<u8>(), 1..64)) {
            prop_assume!(!HTTP2.starts_with(&bytes));
            prop_assert_eq!(judge(&bytes, false), Verdict::Garbage);
        }
    }
}
