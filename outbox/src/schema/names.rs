//! Names of tables, checked.

use crate::{
    database::{Dialect, Sql},
    error::Error,
};

/// Longest name of a table, so that an index's name still fits where names are shortest (63 bytes).
const LONGEST_NAME: usize = 40;
const LONGEST_PREFIX: usize = 20;

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident = $token:literal, $name:literal;)*) => {
        /// A table of this crate.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Table {
            $(#[doc = concat!("`", $name, "`: ")] $(#[$doc])* $table,)*
        }

        impl Table {
            /// All of them.
            pub const ALL: [Self; [$($token),*].len()] = [$(Self::$table),*];

            /// What stands for it in a statement.
            fn token(self) -> &'static str {
                match self {
                    $(Self::$table => $token,)*
                }
            }

            fn default_name(self) -> &'static str {
                match self {
                    $(Self::$table => $name,)*
                }
            }
        }
    };
}

// Its word in the statements here, and its name unless another is given.
tables! {
    /// what is to be sent, and what was.
    Published = "published", "msg_published";
    /// what was sent long ago.
    Archive = "archive", "msg_published_archive";
    /// what was received.
    Received = "received", "msg_received";
    /// half messages of rows in `msg_published`.
    Half = "half", "msg_half";
    /// which migrations have run.
    Migrations = "migrations", "msg_migrations";
    /// whom to notify of what.
    Notification = "notification", "msg_notification";
    /// every try of it, and every decision about it.
    NotificationLog = "notification_log", "msg_notification_log";
    /// what was done here for branches of global transactions.
    Barrier = "barrier", "msg_barrier";
    /// global transactions that are coordinated here.
    Global = "global", "msg_global";
    /// what ends by itself, and when.
    Deadline = "deadline", "msg_deadline";
    /// what lacks its counterpart, and what was done about it.
    Compensation = "compensation", "msg_compensation";
    /// how far scans for it have come.
    CompensationScan = "compensation_scan", "msg_compensation_scan";
    /// what other services have told that they handled.
    Acknowledged = "acknowledged", "msg_acknowledged";
}

/// What the tables are called. Cheap to clone.
///
/// ```
/// use tenonmq_outbox::{Schema, Table};
/// # fn main() -> Result<(), tenonmq_outbox::Error> {
/// let schema = Schema::default().within("messaging")?.prefix("shop_")?.table(Table::Published, "outgoing")?;
/// assert_eq!(schema.name(Table::Published), "messaging.shop_outgoing");
/// assert_eq!(schema.name(Table::Received), "messaging.shop_msg_received");
/// assert!(Schema::default().prefix("shop; DROP TABLE orders").is_err());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    within: Option<String>,
    prefix: String,
    tables: [String; Table::ALL.len()],
}

impl Default for Schema {
    fn default() -> Self {
        Self { within: None, prefix: String::new(), tables: Table::ALL.map(|table| table.default_name().to_owned()) }
    }
}

impl Schema {
    /// Places the tables in a schema (PostgreSQL), database (MySQL) or attached database (SQLite) other than the
    /// connection's. It must exist.
    ///
    /// # Errors
    /// [`Error::Name`] for anything but ASCII letters, digits and `_`.
    pub fn within(mut self, schema: &str) -> Result<Self, Error> {
        self.within = Some(checked("schema", schema, LONGEST_NAME)?);
        Ok(self)
    }

    /// Begins the name of every table and index; for several services in one database.
    ///
    /// # Errors
    /// As [`within`](Self::within).
    pub fn prefix(mut self, prefix: &str) -> Result<Self, Error> {
        self.prefix = checked("prefix", prefix, LONGEST_PREFIX)?;
        Ok(self)
    }

    /// Names one table. No word that SQL reserves: names are not quoted.
    ///
    /// # Errors
    /// As [`within`](Self::within).
    pub fn table(mut self, table: Table, name: &str) -> Result<Self, Error> {
        let name = checked("table", name, LONGEST_NAME - LONGEST_PREFIX)?;
        self.tables[table as usize] = name; // an array with one place for each
        Ok(self)
    }

    /// The full name of a table.
    pub fn name(&self, table: Table) -> String {
        let name = self.bare_name(table);
        self.within.as_ref().map_or_else(|| name.clone(), |schema| format!("{schema}.{name}"))
    }

    /// The name on which PostgreSQL tells of rows in a table.
    pub(crate) fn channel(&self, table: Table) -> String {
        self.name(table).replace('.', "_")
    }

    /// A statement over these tables.
    pub(crate) fn sql<D: Dialect>(&self, template: &str) -> Sql {
        self.words::<D>(template, &[])
    }

    /// The same with more tokens.
    pub(crate) fn words<D: Dialect>(&self, template: &str, more: &[(&str, &str)]) -> Sql {
        let full = Table::ALL.map(|table| self.name(table));
        let mut names: Vec<(&str, &str)> = more.to_vec();
        names.extend(Table::ALL.iter().map(|table| table.token()).zip(full.iter().map(String::as_str)));
        Sql::new::<D>(template, &names)
    }

    /// A statement of a migration, where indexes have names too.
    pub(super) fn ddl<D: Dialect>(&self, template: &str) -> Sql {
        // In SQLite the index carries the schema, and its table may not; elsewhere it is the other way round.
        let index_in_schema = D::WORDS.begin == "BEGIN IMMEDIATE";
        let schema = self.within.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
        let index = format!("{}{}", if index_in_schema { schema.as_str() } else { "" }, self.prefix);
        let on = Table::ALL.map(|table| {
            let name = if index_in_schema { self.bare_name(table) } else { self.name(table) };
            (format!("on {}", table.token()), format!("ON {name}"))
        });
        let mut more = vec![("index", index.as_str())];
        more.extend(on.iter().map(|(token, words)| (token.as_str(), words.as_str())));
        self.words::<D>(template, &more)
    }

    fn bare_name(&self, table: Table) -> String {
        format!("{}{}", self.prefix, self.tables[table as usize]) // an array with one place for each
    }
}

fn checked(what: &'static str, name: &str, longest: usize) -> Result<String, Error> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > longest {
        "it is too long"
    } else if name.starts_with(|first: char| first.is_ascii_digit()) {
        "it begins with a digit"
    } else if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        "it has other characters than ASCII letters, digits and _"
    } else {
        return Ok(name.to_owned());
    };
    Err(Error::Name { what, name: name.chars().take(80).collect(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_more_than_names_are_refused() {
        for bad in ["", "1st", "a b", "a;b", "a\"b", "a.b", "naïve", &"x".repeat(80)] {
            assert!(matches!(Schema::default().table(Table::Published, bad), Err(Error::Name { .. })), "{bad:?}");
            assert!(Schema::default().within(bad).is_err() && Schema::default().prefix(bad).is_err(), "{bad:?}");
        }
    }
}
