//! Where tokens come from: the product's own sign-in.
//!
//! Asked at each connection and when the server says that a token expires. A provider caches as it
//! sees fit; it is asked for a token that is good for some minutes from now.

use crate::Error;
use std::{future::Future, pin::Pin};

/// A future that yields a token.
pub type TokenFuture<'a> = Pin<Box<dyn Future<Output = Result<String, Error>> + Send + 'a>>;

/// Gives fresh tokens. Closures that return a future of one, and fixed strings, are providers.
pub trait TokenProvider: Send + Sync + 'static {
    /// A token of this user that is valid now.
    fn token(&self) -> TokenFuture<'_>;
}

impl<F, Fut> TokenProvider for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String, Error>> + Send + 'static,
{
    fn token(&self) -> TokenFuture<'_> {
        Box::pin(self())
    }
}

/// One token for ever; for scripts and tests.
impl TokenProvider for String {
    fn token(&self) -> TokenFuture<'_> {
        let token = self.clone();
        Box::pin(async move { Ok(token) })
    }
}
