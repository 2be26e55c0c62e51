//! What goes into statements and comes out of them, in the types that the schema has.
//!
//! Drivers bind a [`Value`] and make a [`Column`]; the rest of the backend reads tuples, by
//! [`FromRow`]. Invariant: a blob goes in as a borrowed slice and comes out as it lies in the
//! driver's answer, if the driver can share that.

use bytes::Bytes;

/// A value of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// None.
    Null,
    /// int
    Int(i32),
    /// bigint
    BigInt(i64),
    /// boolean
    Boolean(bool),
    /// text
    Text(&'a str),
    /// blob
    Blob(&'a [u8]),
    /// `frozen<list<int>>`
    Ints(&'a [i32]),
}

/// A column of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// None.
    Null,
    /// int
    Int(i32),
    /// bigint
    BigInt(i64),
    /// boolean
    Boolean(bool),
    /// text
    Text(String),
    /// blob
    Blob(Bytes),
    /// `list<int>`
    Ints(Vec<i32>),
    /// map<text, text>
    Texts(Vec<(String, String)>),
}

/// The columns of one row, in order; an error is one that the driver could not read.
pub type Columns<'a> = &'a mut dyn Iterator<Item = Result<Column, String>>;

/// What takes the rows of an answer, as a driver reads them.
pub trait Rows: Send {
    /// So many are to come.
    fn reserve(&mut self, count: usize);
    /// The next one; an error ends the reading.
    fn take(&mut self, columns: Columns<'_>) -> Result<(), String>;
}

impl<R: FromRow + Send> Rows for Vec<R> {
    fn reserve(&mut self, count: usize) {
        Vec::reserve(self, count);
    }

    fn take(&mut self, columns: Columns<'_>) -> Result<(), String> {
        self.push(R::from_row(columns)?);
        Ok(())
    }
}

/// For statements whose answer says nothing.
pub struct NoRows;

impl Rows for NoRows {
    fn reserve(&mut self, _: usize) {}

    fn take(&mut self, _: Columns<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// What can be made of a row.
pub trait FromRow: Sized {
    /// Takes its columns; all of them, if it counts them.
    fn from_row(columns: Columns<'_>) -> Result<Self, String>;
}

/// The answer to a conditional statement: the first column says whether it was applied, however
/// many follow.
pub struct Applied(pub bool);

impl FromRow for Applied {
    fn from_row(columns: Columns<'_>) -> Result<Self, String> {
        next(columns).map(Self)
    }
}

/// What can be made of a column.
pub trait FromColumn: Sized {
    /// `None`: it is of another type.
    fn from_column(column: Column) -> Option<Self>;
}

fn next<T: FromColumn>(columns: Columns<'_>) -> Result<T, String> {
    let column = columns.next().ok_or("a column is missing")??;
    let text = || format!("a column is not {}", std::any::type_name::<T>());
    T::from_column(column).ok_or_else(text)
}

impl<T: FromColumn> FromColumn for Option<T> {
    fn from_column(column: Column) -> Option<Self> {
        match column {
            Column::Null => Some(None),
            other => T::from_column(other).map(Some),
        }
    }
}

/// A type of the schema: what it is in Rust, and how it is borrowed.
macro_rules! types {
    ($($name:ident: $owned:ty, $borrowed:ty;)*) => {$(
        impl FromColumn for $owned {
            fn from_column(column: Column) -> Option<Self> {
                match column {
                    Column::$name(value) => Some(value),
                    _ => None,
                }
            }
        }

        impl<'a> From<$borrowed> for Value<'a> {
            fn from(value: $borrowed) -> Self {
                Self::$name(value)
            }
        }
    )*};
}

types! {
    Int: i32, i32;
    BigInt: i64, i64;
    Boolean: bool, bool;
    Text: String, &'a str;
    Blob: Bytes, &'a [u8];
    Ints: Vec<i32>, &'a [i32];
}

impl FromColumn for Vec<(String, String)> {
    fn from_column(column: Column) -> Option<Self> {
        match column {
            Column::Texts(pairs) => Some(pairs),
            _ => None,
        }
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! tuples {
    ($($($name:ident)+;)*) => {$(
        impl<$($name: FromColumn),+> FromRow for ($($name,)+) {
            fn from_row(columns: Columns<'_>) -> Result<Self, String> {
                let row = ($(next::<$name>(columns)?,)+);
                match columns.next() {
                    None => Ok(row),
                    Some(_) => Err("more columns than expected".to_owned()),
                }
            }
        }
    )*};
}

tuples! {
    A;
    A B;
    A B C;
    A B C D E F G H I;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<R: FromRow>(columns: &[Column]) -> Result<R, String> {
        R::from_row(&mut columns.iter().cloned().map(Ok))
    }

    #[test]
    fn a_row_is_read_if_it_is_what_was_asked_for() {
        let (int, ints) = ([Column::Int(1)], [Column::Int(1), Column::Int(1)]);
        assert_eq!(row(&int), Ok((1,)));
        assert_eq!(row::<(Option<i64>,)>(&[Column::Null]), Ok((None,)));
        assert!(row::<(i32,)>(&[Column::Null]).is_err());
        assert!(row::<(i64,)>(&int).is_err());
        assert!(row::<(i32,)>(&ints).is_err());
        assert!(row::<(i32, i32)>(&int).is_err());
    }

    #[test]
    fn what_was_applied_is_told_by_the_first_column() {
        let applied = row::<Applied>(&[Column::Boolean(true), Column::Int(7)]);
        assert!(applied.unwrap().0);
        assert!(row::<Applied>(&[Column::Int(7)]).is_err());
    }
}
