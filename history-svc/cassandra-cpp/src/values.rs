//! Values into statements, columns out of answers.
//!
//! Invariant: what is bound is what was given, type for type: the library refuses what does not fit
//! a prepared statement.

use bytes::Bytes;
use cassandra_cpp::{
    CassCollection as _, CassResult, LendingIterator as _, List, Row, Statement, ValueType,
};
use heddle_history::cassandra::driver::CqlError;
use heddle_history::cassandra::value::{Column, Rows, Value};

use crate::not_done;

/// Binds all of them.
pub fn bind(statement: &mut Statement, values: &[Value<'_>]) -> Result<(), CqlError> {
    for (index, value) in values.iter().enumerate() {
        let bound = match *value {
            Value::Null => statement.bind_null(index),
            Value::Int(value) => statement.bind_int32(index, value),
            Value::BigInt(value) => statement.bind_int64(index, value),
            Value::Boolean(value) => statement.bind_bool(index, value),
            Value::Text(value) => statement.bind_string(index, value),
            // The crate asks for a vector and copies it once more.
            Value::Blob(value) => statement.bind_bytes(index, value.to_vec()),
            Value::Ints(values) => bind_ints(statement, index, values),
        };
        bound.map_err(not_done)?;
    }
    Ok(())
}

fn bind_ints<'s>(
    statement: &'s mut Statement,
    index: usize,
    values: &[i32],
) -> Result<&'s mut Statement, cassandra_cpp::Error> {
    let mut list = List::with_capacity(values.len());
    for value in values {
        list.append_int32(*value)?;
    }
    statement.bind_list(index, list)
}

/// Hands the rows over.
pub fn read(result: &CassResult, rows: &mut dyn Rows) -> Result<(), CqlError> {
    rows.reserve(usize::try_from(result.row_count()).unwrap_or(0));
    let columns = usize::try_from(result.column_count()).unwrap_or(0);
    let mut found = result.iter();
    while let Some(row) = found.next() {
        let mut columns = (0..columns).map(|index| column(&row, index));
        rows.take(&mut columns).map_err(CqlError::lasting)?;
    }
    Ok(())
}

fn column(row: &Row<'_>, index: usize) -> Result<Column, String> {
    let told = |error: cassandra_cpp::Error| error.to_string();
    let value = row.get_column(index).map_err(told)?;
    if value.is_null() {
        return Ok(Column::Null);
    }
    let column = match value.get_type() {
        ValueType::INT => value.get_i32().map(Column::Int),
        ValueType::BIGINT => value.get_i64().map(Column::BigInt),
        ValueType::BOOLEAN => value.get_bool().map(Column::Boolean),
        ValueType::TEXT | ValueType::VARCHAR => value.get_string().map(Column::Text),
        ValueType::INET => value
            .get_inet()
            .map(|found| Column::Text(found.to_string())),
        ValueType::BLOB => value
            .get_bytes()
            .map(|found| Column::Blob(Bytes::copy_from_slice(found))),
        ValueType::LIST => ints(&value).map(Column::Ints),
        ValueType::MAP => texts(&value).map(Column::Texts),
        other => return Err(format!("a column is of type {other}")),
    };
    column.map_err(told)
}

fn ints(value: &cassandra_cpp::Value<'_>) -> Result<Vec<i32>, cassandra_cpp::Error> {
    let mut items = value.get_set()?;
    let mut ints = Vec::new();
    while let Some(item) = items.next() {
        ints.push(item.get_i32()?);
    }
    Ok(ints)
}

fn texts(value: &cassandra_cpp::Value<'_>) -> Result<Vec<(String, String)>, cassandra_cpp::Error> {
    let mut items = value.get_map()?;
    let mut texts = Vec::new();
    while let Some((key, value)) = items.next() {
        texts.push((key.get_string()?, value.get_string()?));
    }
    Ok(texts)
}
