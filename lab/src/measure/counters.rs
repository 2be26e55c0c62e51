//! What a service counts, as it tells Prometheus: read from `/metrics`, and the difference of two
//! readings.
//!
//! Knows the text format as far as counters and histograms' sums and counts need it. Everything but
//! [`scrape`] is pure.
//!
//! Invariant: a series that was not there before began at zero, and none goes down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

/// How long a reading may take.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why metrics can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ScrapeError {
    /// Nobody answers there.
    #[error("http://{address}/metrics: {cause}")]
    Unreachable {
        /// Where it was asked.
        address: SocketAddr,
        /// What went wrong.
        cause: hyper_util::client::legacy::Error,
    },
    /// The answer broke off.
    #[error("http://{address}/metrics broke off: {cause}")]
    Broken {
        /// Where it was asked.
        address: SocketAddr,
        /// What went wrong.
        cause: hyper::Error,
    },
    /// The answer is no text, or is not one of metrics.
    #[error("http://{address}/metrics answered {what}")]
    Unexpected {
        /// Where it was asked.
        address: SocketAddr,
        /// With what.
        what: String,
    },
    /// The answer took too long.
    #[error("http://{address}/metrics did not answer in time")]
    Late {
        /// Where it was asked.
        address: SocketAddr,
    },
}

/// Values by series, which is a name and its labels as they were told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters(BTreeMap<String, f64>);

impl Counters {
    /// Reads the text format; lines that say something else are left out.
    pub fn parse(text: &str) -> Counters {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.filter_map(|line| {
            let end = match line.rfind('}') {
                Some(brace) => brace + 1,
                None => line.find(' ')?,
            };
            let (series, value) = line.split_at(end);
            // A timestamp may follow the value.
            let value = value.split_whitespace().next()?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Counters(samples.collect())
    }

    /// What was counted since an earlier reading.
    pub fn since(&self, earlier: &Counters) -> Counters {
        let counted = self.0.iter().map(|(series, value)| {
            let before = earlier.0.get(series).copied().unwrap_or(0.0);
            (series.clone(), (value - before).max(0.0))
        });
        Counters(counted.collect())
    }

    /// Adds what another process counted.
    pub fn add(&mut self, other: &Counters) {
        for (series, value) in &other.0 {
            *self.0.entry(series.clone()).or_default() += value;
        }
    }

    /// All series of a name together; none if there is no such name.
    pub fn sum(&self, name: &str) -> Option<f64> {
        let values: Vec<f64> = self.of(name).map(|(_, value)| value).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// The series of a name by the values of two of its labels.
    pub fn by(&self, name: &str, labels: [&str; 2]) -> BTreeMap<[String; 2], f64> {
        let mut sums = BTreeMap::new();
        for (series, value) in self.of(name) {
            let key = labels.map(|wanted| label(series, wanted).unwrap_or_default().to_owned());
            *sums.entry(key).or_default() += value;
        }
        sums
    }

    fn of(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        let all = self.0.iter();
        let is_named = move |series: &str| {
            let rest = series.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        let named = all.filter(move |(series, _)| is_named(series));
        named.map(|(series, value)| (&series[..], *value))
    }
}

/// The value of a label, as it was written.
fn label<'a>(series: &'a str, wanted: &str) -> Option<&'a str> {
    let (_, mut rest) = series.split_once('{')?;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut escaped = false;
        let end = after.find(|character| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        })?;
        if name.trim_start_matches([',', ' ']) == wanted {
            return Some(&after[..end]);
        }
        rest = &after[end + 1..];
    }
    None
}

/// Reads a process's metrics.
pub async fn scrape(address: SocketAddr) -> Result<Counters, ScrapeError> {
    let asked = tokio::time::timeout(SCRAPE_TIMEOUT, text(address)).await;
    let text = asked.map_err(|_| ScrapeError::Late { address })??;
    Ok(Counters::parse(&text))
}

async fn text(address: SocketAddr) -> Result<String, ScrapeError> {
    let unexpected = |what: String| ScrapeError::Unexpected { address, what };
    let uri = Uri::try_from(format!("http://{address}/metrics"));
    let uri = uri.map_err(|error| unexpected(error.to_string()))?;
    let mut client = Client::builder(TokioExecutor::new());
    // Readings are far apart: a connection that is kept is one that the server has closed.
    let client = client
        .pool_max_idle_per_host(0)
        .build_http::<Empty<Bytes>>();
    let answer = client.get(uri).await;
    let answer = answer.map_err(|cause| ScrapeError::Unreachable { address, cause })?;
    if !answer.status().is_success() {
        return Err(unexpected(answer.status().to_string()));
    }
    let body = answer.into_body().collect().await;
    let body = body.map_err(|cause| ScrapeError::Broken { address, cause })?;
    String::from_utf8(body.to_bytes().into()).map_err(|_| unexpected("no text".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"# HELP sent_total Statements
# TYPE sent_total counter
sent_total{kind="row_write",table="log",otel_scope_name="heddle"} 10
sent_total{kind="row_read",table="log",otel_scope_name="heddle"} 4
sent_total_other 99
took_seconds_sum 1.5
"#;
    const AFTER: &str = r#"sent_total{kind="row_write",table="log",otel_scope_name="heddle"} 25
sent_total{kind="row_read",table="log",otel_scope_name="heddle"} 4
sent_total{kind="cell_write",table="a\"} b",otel_scope_name="heddle"} 3 1700000000
took_seconds_sum 2.25
nonsense
"#;

    fn key(kind: &str, table: &str) -> [String; 2] {
        [kind.to_owned(), table.to_owned()]
    }

    #[test]
    fn the_difference_is_by_label_and_what_is_new_began_at_zero() {
        let counted = Counters::parse(AFTER).since(&Counters::parse(BEFORE));
        let by_kind = counted.by("sent_total", ["kind", "table"]);
        let expected = [
            (key("cell_write", r#"a\"} b"#), 3.0),
            (key("row_read", "log"), 0.0),
            (key("row_write", "log"), 15.0),
        ];
        assert_eq!(by_kind, BTreeMap::from(expected));
        assert_eq!(counted.sum("sent_total"), Some(18.0));
        assert_eq!(counted.sum("took_seconds_sum"), Some(0.75));
        assert_eq!(counted.sum("sent"), None);
    }

    #[test]
    fn processes_add_up_and_one_that_began_anew_does_not_subtract() {
        let mut both = Counters::parse(BEFORE);
        both.add(&Counters::parse(AFTER));
        assert_eq!(both.sum("sent_total"), Some(14.0 + 32.0));
        let backwards = Counters::parse(BEFORE).since(&Counters::parse(AFTER));
        assert_eq!(backwards.sum("sent_total"), Some(0.0));
    }
}
