//! Urls: settings that say where the processes of a service are.
//!
//! [`check_urls`] reads one before anything is started, [`connect_urls`] makes links of it.
//!
//! Invariant: both refuse the same addresses, and name the setting.

use super::{ConnectError, Link, LinkOptions, connect};
use crate::tls::{ClientTls, TlsOptions};

/// A setting does not say where a service is.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {wrong}")]
pub struct UrlsError {
    /// The setting.
    pub field: &'static str,
    /// What is wrong with it.
    pub wrong: ConnectError,
}

/// Checks the addresses in the setting `field`, for links whose certificates `tls` names. No file
/// is read and nothing is connected.
pub fn check_urls(field: &'static str, urls: &[String], tls: &TlsOptions) -> Result<(), UrlsError> {
    each(field, urls, |url| connect::check(url, tls.ca.is_some()))?;
    Ok(())
}

/// Links to all addresses in the setting `field`; an error if there is none, or one is not an
/// address. They connect at their first calls.
pub fn connect_urls(
    field: &'static str,
    urls: &[String],
    options: &LinkOptions,
    tls: Option<&ClientTls>,
) -> Result<Vec<Link>, UrlsError> {
    each(field, urls, |url| Link::connect(url, options, tls))
}

fn each<T>(
    field: &'static str,
    urls: &[String],
    read: impl Fn(&str) -> Result<T, ConnectError>,
) -> Result<Vec<T>, UrlsError> {
    let named = |wrong| UrlsError { field, wrong };
    if urls.is_empty() {
        return Err(named(ConnectError::Missing));
    }
    urls.iter().map(|url| read(url).map_err(named)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(urls: &[&str]) -> Vec<String> {
        urls.iter().map(|url| (*url).to_owned()).collect()
    }

    #[tokio::test]
    async fn what_cannot_be_linked_to_is_refused_by_field() {
        let (plain, options) = (TlsOptions::default(), LinkOptions::default());
        let lists: [&[&str]; 4] = [
            &[],
            &["http://[::1]:1", "x"],
            &["http://host"],
            &["https://host"],
        ];
        for urls in lists.map(owned) {
            let checked = check_urls("chat_urls", &urls, &plain).unwrap_err();
            let checked = checked.to_string();
            assert!(checked.starts_with("chat_urls: "), "{urls:?}: {checked}");
            let made = connect_urls("chat_urls", &urls, &options, None);
            assert_eq!(made.unwrap_err().to_string(), checked);
        }
    }

    #[test]
    fn good_addresses_need_no_file() {
        let tls = TlsOptions {
            ca: Some("/no/such.pem".into()),
            ..TlsOptions::default()
        };
        let urls = owned(&["http://127.0.0.1:7448", "https://chat-svc:7448"]);
        check_urls("chat_urls", &urls, &tls).unwrap();
    }
}
