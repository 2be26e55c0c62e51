//! Rows of one partition of a projection table.

use bytes::Bytes;
use heddle_proto::internal::{Cell, PartitionQuery, ReadOutcome, Table};

use super::{Plan, Step, invalid, limits};
use crate::store::{CellsRead, ReadError, StoreAnswer, StoreRead};

pub struct Partition {
    table: i32,
    read: CellsRead,
}

impl Partition {
    pub fn new(query: PartitionQuery) -> Result<Self, ReadError> {
        let known = Table::try_from(query.table)
            .ok()
            .filter(|&table| table != Table::Unspecified);
        let table = known.and_then(|table| u8::try_from(table as i32).ok());
        let none = || invalid("partition.table", format!("{} is no table", query.table));
        let rows_max = limits::PARTITION_ROWS_MAX;
        let read = CellsRead {
            table: table.ok_or_else(none)?,
            partition: query.partition,
            prefix: query.clustering_prefix,
            after: query.after_clustering,
            until: Bytes::new(),
            rows_max: limits::clamp(query.rows_max, rows_max, rows_max),
        };
        Ok(Self {
            table: query.table,
            read,
        })
    }
}

impl Plan for Partition {
    fn step(&mut self, results: Vec<StoreAnswer>) -> Result<Step, ReadError> {
        let Some(StoreAnswer::Cells { cells, more }) = results.into_iter().next() else {
            return Ok(Step::Read(vec![StoreRead::Cells(self.read.clone())]));
        };
        let cell = |(clustering, value)| Cell {
            table: self.table,
            partition: self.read.partition.clone(),
            clustering,
            value,
            delete: false,
        };
        let cells = cells.into_iter().map(cell).collect();
        Ok(Step::Done(ReadOutcome {
            cells,
            more,
            ..ReadOutcome::default()
        }))
    }
}
