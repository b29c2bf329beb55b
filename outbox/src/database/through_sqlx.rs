//! The part of [`Dialect`](super::Dialect) that is the same text for each driver, but not the same types.

/// Writes `execute` and `fetch` for a driver.
macro_rules! through_sqlx {
    ($database:ty) => {
        async fn execute(
            connection: &mut Self::Connection,
            sql: &$crate::database::Sql,
            values: &[$crate::database::Value<'_>],
        ) -> Result<u64, sqlx::Error> {
            Ok(bound(sql, values).execute(connection).await?.rows_affected())
        }

        async fn fetch(
            connection: &mut Self::Connection,
            sql: &$crate::database::Sql,
            values: &[$crate::database::Value<'_>],
        ) -> Result<Vec<$crate::database::Row>, sqlx::Error> {
            let rows = bound(sql, values).fetch_all(connection).await?;
            Ok(rows.iter().map(read).collect())
        }
    };
}

/// Writes the helpers that `through_sqlx` uses.
macro_rules! values_through_sqlx {
    ($database:ty) => {
        fn bound<'q>(
            sql: &$crate::database::Sql,
            values: &[$crate::database::Value<'_>],
        ) -> sqlx::query::Query<'q, $database, <$database as sqlx::Database>::Arguments> {
            use $crate::database::Value;
            let query = sqlx::query::<$database>(sql.to_sqlx());
            values.iter().fold(query, |query, value| match *value {
                Value::Int(value) => query.bind(value),
                Value::OptInt(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::OptText(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
                Value::OptBytes(value) => query.bind(value),
            })
        }

        fn read(row: &<$database as sqlx::Database>::Row) -> $crate::database::Row {
            use sqlx::{Row, TypeInfo, ValueRef};
            use $crate::database::row::Cell;
            let cell = |at: usize| {
                let Ok(raw) = row.try_get_raw(at) else { return Cell::Null };
                if raw.is_null() {
                    return Cell::Null;
                }
                let integer = row.try_get(at).map(Cell::Int);
                let text = |_| row.try_get(at).map(Cell::Text);
                let bytes = |_| row.try_get(at).map(Cell::Bytes);
                integer
                    .or_else(text)
                    .or_else(bytes)
                    .unwrap_or_else(|_| Cell::Foreign(raw.type_info().name().to_owned()))
            };
            $crate::database::Row::new((0..row.len()).map(cell).collect())
        }
    };
}

pub(super) use {through_sqlx, values_through_sqlx};
