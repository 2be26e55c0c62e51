//! One service that is right in all points, and a way to make it wrong in one.

use crate::k8s::manifests::Manifests;

/// What the service's program would print.
pub const DECLARED: &str = "\
listen = \"127.0.0.1:7448\"
# advertise_url =
peer_urls = []
[chat]
# node =
leave_max_ms = 1000
[process]
# metrics_address =
grace_ms = 5000
";

const RIGHT: &str = include_str!("fixture.yaml");

/// Plants each mistake in its turn: what a rule then finds has to hold the third text.
pub fn each_is_found(mistakes: &[(&str, &str, &str)], found: impl Fn(&str, &str) -> Vec<String>) {
    for (from, to, told) in mistakes {
        let found = found(from, to);
        assert!(
            found.iter().any(|it| it.contains(told)),
            "{from}: {found:?}"
        );
    }
}

/// The fixture with one text in another's place; it has to be there.
pub fn planted(from: &str, to: &str) -> Manifests {
    assert!(RIGHT.contains(from), "the fixture has no {from}");
    let text = if from.is_empty() {
        RIGHT.to_owned()
    } else {
        RIGHT.replacen(from, to, 1)
    };
    Manifests::parse(&text).unwrap()
}
