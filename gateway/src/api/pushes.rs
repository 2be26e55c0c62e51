//! Pushes: testing them, what became of them, and those that were given up.
//!
//! Reads the dead letters that mailboxes' owners write; what changes goes through those owners.
//! Invariant: of a message only its place is told here.

use super::{
    Api, day_rows,
    page_token::{self, List},
};
use crate::validate::At;
use bytes::Bytes;
use heddle_proto::{
    errors::Fault,
    internal::{
        Cell, DeadLetterRow, PartitionQuery, PushCommand, RedriveCommand, SettledPush, Table,
        TestPushCommand, command::Op, command_result::Outcome, read::Query,
    },
    keys, time,
    v1::{self, DeadLetter, ErrorReason, push_service_server::PushService},
};
use prost::Message as _;
use tonic::{Request, Response, Status, async_trait};

/// Dead letters of a page, where none is asked for, and at most.
const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 1_000;
const PUSH_ID_BYTES_MAX: usize = 128;

/// Where a page of dead letters goes on: behind this letter of this shard.
type Place = (u32, Bytes);

fn damaged() -> Fault {
    Fault::new(ErrorReason::DataLoss, "a dead letter cannot be read")
}

fn letter(partition: &[u8], cell: &Cell) -> Result<DeadLetter, Fault> {
    let row = DeadLetterRow::decode(cell.value.clone()).map_err(|_| damaged())?;
    Ok(DeadLetter {
        dead_letter_id: day_rows::id(partition, &cell.clustering),
        push_id: row.push_id,
        user_id: row.user_id,
        result: row.result,
        conversation_id: row.conversation_id,
        seq: row.seq,
        create_time: Some(time::timestamp(row.time_ms)),
    })
}

impl Api {
    async fn push(&self, user_id: String, op: Op) -> Result<SettledPush, Fault> {
        match self.ask_mailbox(user_id, op).await? {
            Outcome::Push(push) => Ok(push),
            _ => Err(crate::answers::unexpected()),
        }
    }

    /// Letters of a day from a place on, and where to go on.
    async fn page(
        &self,
        day: u64,
        (first_shard, mut after): Place,
        letters_max: usize,
    ) -> Result<(Vec<DeadLetter>, Option<Place>), Fault> {
        let mut letters = Vec::new();
        let shards = keys::shards_ever(self.edge.shards.shard_count());
        for shard in first_shard..shards.end {
            let partition = keys::of_day(day, shard);
            loop {
                let query = PartitionQuery {
                    table: Table::DeadLetters.into(),
                    partition: partition.clone(),
                    after_clustering: std::mem::take(&mut after),
                    ..Default::default()
                };
                let read = self.edge.store.read(Query::Partition(query)).await?;
                for cell in &read.cells {
                    letters.push(letter(&partition, cell)?);
                    if letters.len() == letters_max {
                        return Ok((letters, Some((shard, cell.clustering.clone()))));
                    }
                }
                match read.cells.last().filter(|_| read.more) {
                    Some(last) => after = last.clustering.clone(),
                    None => break,
                }
            }
        }
        Ok((letters, None))
    }
}

#[async_trait]
impl PushService for Api {
    async fn test_push(
        &self,
        request: Request<v1::TestPushRequest>,
    ) -> Result<Response<v1::TestPushResponse>, Status> {
        let caller = self.caller(request.metadata(), "TestPush").await?;
        let user_id = caller.about(request.into_inner().user_id)?;
        let push = self.push(user_id, Op::TestPush(TestPushCommand {})).await?;
        Ok(Response::new(v1::TestPushResponse {
            results: push.results,
        }))
    }

    async fn get_push(
        &self,
        request: Request<v1::GetPushRequest>,
    ) -> Result<Response<v1::GetPushResponse>, Status> {
        let caller = self.caller(request.metadata(), "GetPush").await?;
        let v1::GetPushRequest { push_id, user_id } = request.into_inner();
        At::CALL.bytes("push_id", push_id.len(), 1, PUSH_ID_BYTES_MAX)?;
        let user_id = caller.about(user_id)?;
        let push = self
            .push(user_id, Op::Push(PushCommand { push_id }))
            .await?;
        let settled = push.time_ms > 0;
        Ok(Response::new(v1::GetPushResponse {
            results: push.results,
            settle_time: settled.then(|| time::timestamp(push.time_ms)),
        }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        let caller = self.caller(request.metadata(), "ListDeadLetters").await?;
        caller.needs_admin()?;
        let ask = request.into_inner();
        let day = day_rows::day_number(&ask.day, self.edge.clock.now_ms())?;
        let letters_max = At::CALL.page_size(ask.page_size, PAGE_DEFAULT, PAGE_MAX)?;
        let owner = day.to_be_bytes();
        let token = page_token::decode(List::DeadLetters, &owner, &ask.page_token)?;
        let from = token.as_deref().and_then(|token| token.split_first_chunk());
        let from = from.map_or((0, Bytes::new()), |(shard, after)| {
            (u32::from_be_bytes(*shard), Bytes::copy_from_slice(after))
        });
        let (dead_letters, next) = self.page(day, from, letters_max as usize).await?;
        let next_page_token = next.map_or_else(String::new, |(shard, after)| {
            let place = [&shard.to_be_bytes()[..], &after].concat();
            page_token::encode(List::DeadLetters, &owner, &place)
        });
        Ok(Response::new(v1::ListDeadLettersResponse {
            dead_letters,
            next_page_token,
        }))
    }

    async fn redrive_push(
        &self,
        request: Request<v1::RedrivePushRequest>,
    ) -> Result<Response<v1::RedrivePushResponse>, Status> {
        let caller = self.caller(request.metadata(), "RedrivePush").await?;
        caller.needs_admin()?;
        let place = day_rows::place_of(&request.into_inner().dead_letter_id)
            .ok_or_else(|| Fault::field("dead_letter_id", "is not one of ListDeadLetters"))?;
        let cell = self.day_row(Table::DeadLetters, &place).await?;
        let cell = cell.ok_or_else(|| Fault::not_found("dead letter"))?;
        let row = DeadLetterRow::decode(cell.value).map_err(|_| damaged())?;
        let (partition, clustering) = place;
        let device_id = row.result.map(|it| it.device_id).unwrap_or_default();
        let ask = RedriveCommand {
            partition,
            clustering,
            device_id,
            conversation_id: row.conversation_id,
        };
        match self.ask_mailbox(row.user_id, Op::Redrive(ask)).await? {
            Outcome::Redrive(done) => Ok(Response::new(v1::RedrivePushResponse {
                push_id: done.push_id,
            })),
            _ => Err(crate::answers::unexpected().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_found_by_its_id() {
        let row = DeadLetterRow {
            push_id: "p".into(),
            ..Default::default()
        };
        let cell = Cell {
            clustering: Bytes::from_static(b"where"),
            value: row.encode_to_vec().into(),
            ..Default::default()
        };
        let letter = letter(&keys::of_day(9, 2), &cell).unwrap();
        let place = (keys::of_day(9, 2), Bytes::from_static(b"where"));
        assert_eq!(day_rows::place_of(&letter.dead_letter_id), Some(place));
    }
}
