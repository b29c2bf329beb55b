//! What the server must have before a stream can be read: settings, rights, a publication, a slot.

use sqlx::{Connection, PgConnection, Postgres, postgres::PgConnectOptions};

use super::{
    address::Address,
    settings::Settings,
    slot::{self, SlotReading},
};
use crate::{
    database::{Dialect, Sql, Value},
    error::Error,
};

/// From here on a publication can leave columns out.
const COLUMN_LISTS: i64 = 150_000;
/// SQLSTATEs.
const DUPLICATE_OBJECT: &str = "42710";
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const LIMIT_EXCEEDED: &str = "53400";

/// Makes and drops what the server keeps.
#[derive(Debug, Clone)]
pub(super) struct Control {
    options: PgConnectOptions,
    slot: String,
    publication: String,
    /// The outbox's table, as in statements.
    table: String,
}

impl Control {
    pub(super) fn new(address: &Address, settings: &Settings, table: String) -> Self {
        let Settings { slot, publication, .. } = settings.clone();
        Self { options: address.options.clone(), slot, publication, table }
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        Ok(PgConnection::connect_with(&self.options).await?)
    }

    /// Whether server and user are set up for it.
    pub(super) async fn check(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let level = text(connection, "SELECT current_setting('wal_level')", &[]).await?;
        if level != "logical" {
            let reason = format!("it is {level:?}; set `wal_level = logical` and restart the server");
            return Err(wrong("wal_level", reason));
        }
        // the second is how Amazon grants it
        let sql = "SELECT COUNT(*) FROM pg_roles WHERE (rolname = current_user AND (rolsuper OR rolreplication)) \
             OR (rolname = 'rds_replication' AND pg_has_role(oid, 'MEMBER'))";
        if number(connection, sql, &[]).await? == 0 {
            return Err(self.no_right());
        }
        Ok(())
    }

    /// Makes the publication, unless it is there.
    pub(super) async fn publication(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let Self { publication, table, .. } = self;
        let sql = "SELECT COUNT(*) FROM pg_publication WHERE pubname = $1";
        if number(connection, sql, &[publication.as_str().into()]).await? == 0 {
            let version = number(connection, "SELECT current_setting('server_version_num')::BIGINT", &[]).await?;
            let columns = if version < COLUMN_LISTS { "" } else { " (id)" };
            // names are checked
            let sql = format!(
                "CREATE PUBLICATION {publication} FOR TABLE {table}{columns} \
                 WITH (publish = 'insert', publish_via_partition_root = true)"
            );
            return match Postgres::execute(connection, &Sql::verbatim(&sql), &[]).await {
                Err(error) if is(&error, INSUFFICIENT_PRIVILEGE) => Err(wrong(
                    &format!("publication {publication}"),
                    format!("{} must own {table} and may CREATE in the database: {error}", self.options.get_username()),
                )),
                Err(error) if !is(&error, DUPLICATE_OBJECT) => Err(error.into()),
                Ok(_) | Err(_) => Ok(()),
            };
        }
        let sql = "SELECT COUNT(*) FROM pg_publication_tables WHERE pubname = $1 \
             AND format('%I.%I', schemaname, tablename)::regclass = $2::regclass";
        if number(connection, sql, &[publication.as_str().into(), table.as_str().into()]).await? == 0 {
            let reason = format!("it does not have {table}; drop it, or name another one");
            return Err(wrong(&format!("publication {publication}"), reason));
        }
        Ok(())
    }

    /// By which number the stream names the outbox's table.
    pub(super) async fn table(&self, connection: &mut PgConnection) -> Result<u32, Error> {
        let table = number(connection, "SELECT $1::regclass::oid::BIGINT", &[self.table.as_str().into()]).await?;
        u32::try_from(table).map_err(|_| wrong(&self.table, format!("{table} is no table's number")))
    }

    pub(super) async fn slot(&self, connection: &mut PgConnection) -> Result<Option<SlotReading>, Error> {
        let Some(found) = slot::read(connection, &self.slot).await? else { return Ok(None) };
        if !found.is_ours {
            let reason = "it belongs to another database or plugin; name another one".to_owned();
            return Err(self.wrong_slot(reason));
        }
        Ok(Some(found))
    }

    /// Waits for all transactions that are open.
    pub(super) async fn make_slot(&self, connection: &mut PgConnection) -> Result<(), Error> {
        let sql = Sql::verbatim("SELECT pg_create_logical_replication_slot($1, 'pgoutput')::TEXT");
        match Postgres::fetch(connection, &sql, &[self.slot.as_str().into()]).await {
            Err(error) if is(&error, DUPLICATE_OBJECT) => Ok(()), // another instance was faster
            Err(error) if is(&error, INSUFFICIENT_PRIVILEGE) => Err(self.no_right()),
            Err(error) if is(&error, LIMIT_EXCEEDED) => {
                Err(wrong("max_replication_slots", format!("raise it, or drop a slot: {error}")))
            }
            made => Ok(made.map(|_| ())?),
        }
    }

    pub(super) async fn drop_slot(&self, connection: &mut PgConnection) -> Result<(), Error> {
        slot::drop_slot(connection, &self.slot).await
    }

    pub(super) fn wrong_slot(&self, reason: String) -> Error {
        wrong(&format!("slot {}", self.slot), reason)
    }

    fn no_right(&self) -> Error {
        let user = self.options.get_username();
        wrong("REPLICATION", format!("the user {user:?} lacks this attribute: ALTER ROLE {user} REPLICATION"))
    }
}

fn wrong(what: &str, reason: String) -> Error {
    Error::Replication { what: what.to_owned(), reason }
}

fn is(error: &sqlx::Error, state: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == state)
}

async fn number(connection: &mut PgConnection, sql: &str, values: &[Value<'_>]) -> Result<i64, Error> {
    let row = Postgres::fetch(connection, &Sql::verbatim(sql), values).await?.into_iter().next();
    Ok(row.and_then(|mut row| row.int("number").ok()).unwrap_or(0))
}

async fn text(connection: &mut PgConnection, sql: &str, values: &[Value<'_>]) -> Result<String, Error> {
    let row = Postgres::fetch(connection, &Sql::verbatim(sql), values).await?.into_iter().next();
    Ok(row.and_then(|mut row| row.text("text").ok()).unwrap_or_default())
}
