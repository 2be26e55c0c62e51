//! AnyOf: links to processes of one service that can stand in for each other.
//!
//! One is used at a time, chosen at random at first, so that callers spread; who finds that it has
//! failed moves on to the next. Nobody moves back: a stream stays where it works.
//!
//! Invariant: a cursor is moved by one owner only ([`AnyOf::apart`] makes another), so that two who
//! see the same failure do not move twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Link, LinkOptions, UrlsError, connect_urls};
use crate::tls::ClientTls;

/// Links of which any will do. Clones share what is in use.
#[derive(Clone, Debug)]
pub struct AnyOf {
    links: Arc<[Link]>,
    at: Arc<AtomicUsize>,
}

impl AnyOf {
    /// Links to all addresses in the setting `field`; an error if there is none, or one is not an
    /// address.
    pub fn connect(
        field: &'static str,
        urls: &[String],
        options: &LinkOptions,
        tls: Option<&ClientTls>,
    ) -> Result<Self, UrlsError> {
        let links = connect_urls(field, urls, options, tls)?;
        Ok(Self::starting_at(links, rand::random::<u16>().into()))
    }

    fn starting_at(links: Vec<Link>, first: usize) -> Self {
        Self {
            links: links.into(),
            at: Arc::new(AtomicUsize::new(first)),
        }
    }

    /// The one in use.
    pub fn current(&self) -> Link {
        self.chosen().1
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.links.len()
    }

    /// The one in use, and which that is.
    pub fn chosen(&self) -> (usize, Link) {
        let index = self.index();
        (index, self.links[index].clone())
    }

    /// Which one is in use, by its place among the addresses.
    pub fn index(&self) -> usize {
        self.at.load(Ordering::Relaxed) % self.links.len()
    }

    /// A certain one, by its place among the addresses.
    pub fn link(&self, index: usize) -> Link {
        self.links[index % self.links.len()].clone()
    }

    /// The one in use has failed: the next one is, from now on.
    pub fn failed(&self) {
        self.at.fetch_add(1, Ordering::Relaxed);
    }

    /// The same links, with a cursor of its own that starts where this one is.
    pub fn apart(&self) -> Self {
        Self {
            links: self.links.clone(),
            at: Arc::new(AtomicUsize::new(self.index())),
        }
    }
}

impl From<Link> for AnyOf {
    fn from(link: Link) -> Self {
        Self::starting_at(vec![link], 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_is_used_in_turn_and_cursors_are_apart() {
        let urls = [1, 2, 3].map(|port| format!("http://127.0.0.1:{port}"));
        let any = AnyOf::connect("urls", &urls, &LinkOptions::default(), None).unwrap();
        let (first, other) = (any.index(), any.apart());
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(any.index());
            any.failed();
        }
        assert_eq!(any.index(), first, "round");
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        any.clone().failed();
        assert_eq!(any.index(), (first + 1) % 3, "clones share");
        assert_eq!(other.index(), first, "the other one does not");
    }

    #[test]
    fn no_address_is_an_error() {
        let error = AnyOf::connect("urls", &[], &LinkOptions::default(), None).unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("urls: there is no address"), "{error}");
    }
}
