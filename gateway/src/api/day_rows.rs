//! Day rows: what shards keep by day for operators, dead letters and what was set aside.
//!
//! The services beside list them from the store; what is to become of one, its mailbox's owner
//! does.
//!
//! Invariant: an id names one row, by its partition and its place there, and says nothing else.

use super::Api;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    internal::{Cell, PartitionQuery, Table, read::Query},
    time::DAY_MS,
};

/// Bytes of a partition: its day and its shard.
const PARTITION_BYTES: usize = 12;

/// A row's partition, and its place there.
pub type Place = (Bytes, Bytes);

/// The id of a row.
pub fn id(partition: &[u8], clustering: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([partition, clustering].concat())
}

/// The row that an id names; `None`: it is none of ours.
pub fn place_of(id: &str) -> Option<Place> {
    let name = URL_SAFE_NO_PAD.decode(id).ok()?;
    let (partition, clustering) = name
        .split_at_checked(PARTITION_BYTES)
        .filter(|(_, clustering)| !clustering.is_empty())?;
    Some((
        Bytes::copy_from_slice(partition),
        Bytes::copy_from_slice(clustering),
    ))
}

/// Days since 1970 of a day such as 2026-11-28; empty: today.
pub fn day_number(day: &str, now_ms: u64) -> Result<u64, Fault> {
    if day.is_empty() {
        return Ok(now_ms / DAY_MS);
    }
    let wrong = || Fault::field("day", "must be a day such as 2026-11-28");
    let midnight: prost_types::Timestamp = match day.len() {
        10 => format!("{day}T00:00:00Z").parse().map_err(|_| wrong())?,
        _ => return Err(wrong()),
    };
    let seconds = u64::try_from(midnight.seconds).map_err(|_| wrong())?;
    Ok(seconds * 1_000 / DAY_MS)
}

impl Api {
    /// The row at a place, if it is there.
    pub(super) async fn day_row(
        &self,
        table: Table,
        (partition, clustering): &Place,
    ) -> Result<Option<Cell>, Fault> {
        let query = PartitionQuery {
            table: table.into(),
            partition: partition.clone(),
            clustering_prefix: clustering.clone(),
            ..Default::default()
        };
        let found = self.edge.store.read(Query::Partition(query)).await?.cells;
        Ok(found
            .into_iter()
            .find(|cell| cell.clustering == *clustering))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_day() {
        assert_eq!(day_number("1970-01-02", 0), Ok(1));
        assert_eq!(day_number("", 3 * DAY_MS + 5), Ok(3));
        for wrong in ["tomorrow", "1969-12-31", "2026-02-31", "2026-1-1"] {
            assert!(day_number(wrong, 0).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_row_is_found_by_its_id_and_nothing_else_is() {
        let place = (Bytes::from_static(&[7; 12]), Bytes::from_static(b"where"));
        assert_eq!(place_of(&id(&place.0, &place.1)), Some(place));
        for wrong in ["", "AAAA", &id(&[7; 12], b""), "not base64!"] {
            assert_eq!(place_of(wrong), None, "{wrong}");
        }
    }
}
