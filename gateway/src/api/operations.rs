//! Operations: what mailboxes could not take is listed, and redriven.
//!
//! Reads the rows that mailboxes' owners write; taking them is those owners' work.
//! Invariant: of a message only its place is told here.

use super::{
    Api, day_rows,
    page_token::{self, List},
};
use crate::validate::At;
use bytes::Bytes;
use futures_util::future::try_join_all;
use heddle_proto::{
    errors::Fault,
    internal::{
        Cell, PartitionQuery, RedriveStuckCommand, StuckRow, Table, command::Op,
        command_result::Outcome, read::Query,
    },
    keys, time,
    v1::{self, ErrorReason, StuckPiece, operations_service_server::OperationsService},
};
use prost::Message as _;
use tonic::{Request, Response, Status, async_trait};

/// Pieces of a page, where none is asked for, and at most.
const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;
/// Days that are looked at: as long as a mailbox keeps its events.
const DAYS_MAX: u64 = 30;
/// Partitions that one call looks at, but for a day more: one of each shard for each day.
const PARTITIONS_MAX: usize = 2_048;
/// Partitions that are read at once.
const PARTITIONS_AT_ONCE: usize = 64;

/// Where a page goes on: on this day, behind this row.
type Place = (u64, Bytes);

fn damaged() -> Fault {
    Fault::new(
        ErrorReason::DataLoss,
        "what was set aside there cannot be read",
    )
}

fn piece(cell: &Cell) -> Result<StuckPiece, Fault> {
    let row = StuckRow::decode(cell.value.clone()).map_err(|_| damaged())?;
    Ok(StuckPiece {
        stuck_id: day_rows::id(&cell.partition, &cell.clustering),
        user_id: row.user_id,
        conversation_id: row.log_id,
        from_seq: row.from_seq,
        to_seq: row.to_seq,
        reason: row.reason,
        create_time: Some(time::timestamp(row.time_ms)),
    })
}

/// The rows that come first, of all and of some more.
fn first_of(mut rows: Vec<Cell>, more: impl IntoIterator<Item = Cell>, max: usize) -> Vec<Cell> {
    rows.extend(more);
    rows.sort_unstable_by(|one, other| one.clustering.cmp(&other.clustering));
    rows.truncate(max);
    rows
}

fn token_of(ask_day: &str, (day, after): Place) -> String {
    let place = [&day.to_be_bytes()[..], &after].concat();
    page_token::encode(List::Stuck, ask_day.as_bytes(), &place)
}

/// Where a page begins whose newest day this is.
fn place_of(ask: &v1::ListStuckRequest, newest_day: u64) -> Result<Place, Fault> {
    let token = page_token::decode(List::Stuck, ask.day.as_bytes(), &ask.page_token)?;
    let place = token.as_deref().and_then(|token| token.split_first_chunk());
    Ok(place.map_or((newest_day, Bytes::new()), |(day, after)| {
        let day = u64::from_be_bytes(*day).min(newest_day);
        (day, Bytes::copy_from_slice(after))
    }))
}

impl Api {
    /// Rows from a place on, back to the oldest day, and where to go on.
    async fn stuck(
        &self,
        (newest_day, mut after): Place,
        oldest_day: u64,
        rows_max: usize,
    ) -> Result<(Vec<Cell>, Option<Place>), Fault> {
        let shards: Vec<u32> = keys::shards_ever(self.edge.shards.shard_count()).collect();
        let (mut rows, mut looked_at) = (Vec::new(), 0);
        for day in (oldest_day..=newest_day).rev() {
            let after = std::mem::take(&mut after);
            let left = rows_max - rows.len();
            rows.extend(self.stuck_of_day(day, &shards, &after, left).await?);
            if let Some(last) = rows.last().filter(|_| rows.len() == rows_max) {
                let place = (day, last.clustering.clone());
                return Ok((rows, Some(place)));
            }
            looked_at += shards.len();
            if looked_at >= PARTITIONS_MAX && day > oldest_day {
                return Ok((rows, Some((day - 1, Bytes::new()))));
            }
        }
        Ok((rows, None))
    }

    /// Rows of a day, the newest first.
    async fn stuck_of_day(
        &self,
        day: u64,
        shards: &[u32],
        after: &Bytes,
        rows_max: usize,
    ) -> Result<Vec<Cell>, Fault> {
        let mut rows = Vec::new();
        for some in shards.chunks(PARTITIONS_AT_ONCE) {
            let partitions = some.iter().map(|shard| keys::of_day(day, *shard));
            let reads = partitions.map(|partition| self.stuck_of_shard(partition, after, rows_max));
            let found = try_join_all(reads).await?;
            rows = first_of(rows, found.into_iter().flatten(), rows_max);
        }
        Ok(rows)
    }

    async fn stuck_of_shard(
        &self,
        partition: Bytes,
        after: &Bytes,
        rows_max: usize,
    ) -> Result<Vec<Cell>, Fault> {
        let (mut rows, mut after) = (Vec::new(), after.clone());
        loop {
            let query = PartitionQuery {
                table: Table::Stuck.into(),
                partition: partition.clone(),
                after_clustering: after,
                rows_max: (rows_max - rows.len()) as u32,
                ..Default::default()
            };
            let read = self.edge.store.read(Query::Partition(query)).await?;
            rows.extend(read.cells);
            match rows.last() {
                Some(last) if read.more && rows.len() < rows_max => {
                    after = last.clustering.clone();
                }
                _ => return Ok(rows),
            }
        }
    }
}

#[async_trait]
impl OperationsService for Api {
    async fn list_stuck(
        &self,
        request: Request<v1::ListStuckRequest>,
    ) -> Result<Response<v1::ListStuckResponse>, Status> {
        let caller = self.caller(request.metadata(), "ListStuck").await?;
        caller.needs_admin()?;
        let ask = request.into_inner();
        let newest_day = day_rows::day_number(&ask.day, self.edge.clock.now_ms())?;
        let rows_max = At::CALL.page_size(ask.page_size, PAGE_DEFAULT, PAGE_MAX)?;
        let from = place_of(&ask, newest_day)?;
        let oldest_day = newest_day.saturating_sub(DAYS_MAX - 1);
        let (rows, next) = self.stuck(from, oldest_day, rows_max as usize).await?;
        let stuck_pieces = rows.iter().map(piece).collect::<Result<_, _>>()?;
        Ok(Response::new(v1::ListStuckResponse {
            stuck_pieces,
            next_page_token: next.map_or_else(String::new, |place| token_of(&ask.day, place)),
        }))
    }

    async fn redrive_stuck(
        &self,
        request: Request<v1::RedriveStuckRequest>,
    ) -> Result<Response<v1::RedriveStuckResponse>, Status> {
        let caller = self.caller(request.metadata(), "RedriveStuck").await?;
        caller.needs_admin()?;
        let place = day_rows::place_of(&request.into_inner().stuck_id)
            .ok_or_else(|| Fault::field("stuck_id", "is not one of ListStuck"))?;
        let cell = self.day_row(Table::Stuck, &place).await?;
        let cell = cell.ok_or_else(|| Fault::not_found("piece"))?;
        let row = StuckRow::decode(cell.value).map_err(|_| damaged())?;
        if row.user_id.is_empty() {
            let text = "was set aside by a release that did not keep whose mailbox it is of";
            return Err(Fault::field("stuck_id", text).into());
        }
        let (user_id, (partition, clustering)) = (row.user_id.clone(), place);
        let ask = RedriveStuckCommand {
            partition,
            clustering,
            row: Some(row),
            taken: 0,
        };
        let op = Op::RedriveStuck(Box::new(ask));
        match self.ask_mailbox(user_id, op).await? {
            Outcome::RedriveStuck(done) => Ok(Response::new(v1::RedriveStuckResponse {
                event_count: done.event_count,
            })),
            _ => Err(crate::answers::unexpected().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(shard: u32, place: u8) -> Cell {
        Cell {
            partition: keys::of_day(9, shard),
            clustering: vec![place].into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_newest_of_all_shards_come_first() {
        let one = first_of(Vec::new(), [row(1, 3), row(1, 5)], 3);
        let both = first_of(one, [row(2, 2), row(2, 4)], 3);
        let order: Vec<_> = both.iter().map(|cell| cell.clustering[0]).collect();
        assert_eq!(order, [2, 3, 4]);
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended_and_never_ahead_of_its_day() {
        let after = Bytes::from_static(b"behind");
        let ask = |day: &str, place: Place| v1::ListStuckRequest {
            day: day.into(),
            page_token: token_of("", place),
            ..Default::default()
        };
        assert_eq!(
            place_of(&ask("", (8, after.clone())), 9),
            Ok((8, after.clone()))
        );
        assert_eq!(
            place_of(&ask("", (u64::MAX, after.clone())), 9),
            Ok((9, after.clone()))
        );
        let other = place_of(&ask("2026-11-28", (8, after)), 9);
        assert!(other.is_err(), "of another list");
        let first = v1::ListStuckRequest::default();
        assert_eq!(place_of(&first, 9), Ok((9, Bytes::new())));
    }
}
