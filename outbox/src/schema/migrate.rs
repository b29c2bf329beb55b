//! Creating the tables.

use sqlx::{Connection, Pool};

use super::Schema;
use crate::{
    database::{Dialect, Sql, begin},
    error::Error,
};

/// A step that is never changed once it was released: its name is what a database remembers.
struct Migration {
    name: &'static str,
    template: &'static str,
}

/// All steps, in their order. A new table is a new file.
const MIGRATIONS: &[Migration] = &[
    Migration { name: "0001_outbox", template: include_str!("../../migrations/0001_outbox.sql") },
    Migration { name: "0002_inbox", template: include_str!("../../migrations/0002_inbox.sql") },
    Migration { name: "0003_half", template: include_str!("../../migrations/0003_half.sql") },
    Migration { name: "0004_notification", template: include_str!("../../migrations/0004_notification.sql") },
    Migration { name: "0005_barrier", template: include_str!("../../migrations/0005_barrier.sql") },
    Migration { name: "0006_coordinator", template: include_str!("../../migrations/0006_coordinator.sql") },
    Migration { name: "0007_compensation", template: include_str!("../../migrations/0007_compensation.sql") },
    Migration { name: "0008_deadline", template: include_str!("../../migrations/0008_deadline.sql") },
];

const REMEMBER: &str = "CREATE TABLE IF NOT EXISTS {migrations} (name {name} NOT NULL PRIMARY KEY)";

impl Schema {
    /// Creates the tables that are missing, and returns the names of the steps that ran. Several processes may do it at
    /// once: one does it, the others wait.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn migrate<D: Dialect>(&self, pool: &Pool<D>) -> Result<Vec<&'static str>, Error> {
        let mut transaction = begin(pool).await?;
        if let Some(lock) = D::WORDS.lock {
            D::fetch(&mut transaction, &Sql::verbatim(lock), &[]).await?;
        }
        let ran = self.run_missing::<D>(&mut transaction).await;
        if let Some(unlock) = D::WORDS.unlock {
            D::fetch(&mut transaction, &Sql::verbatim(unlock), &[]).await?;
        }
        let ran = ran?;
        transaction.commit().await?;
        Ok(ran)
    }

    async fn run_missing<D: Dialect>(&self, connection: &mut D::Connection) -> Result<Vec<&'static str>, Error> {
        D::execute(connection, &self.ddl::<D>(REMEMBER), &[]).await?;
        let known = self.sql::<D>("SELECT name FROM {migrations} WHERE name = ?");
        let remember = self.sql::<D>("INSERT INTO {migrations} (name) VALUES (?)");
        let mut ran = Vec::new();
        for step in MIGRATIONS {
            if !D::fetch(connection, &known, &[step.name.into()]).await?.is_empty() {
                continue;
            }
            for statement in self.statements::<D>(step) {
                match D::execute(connection, &statement, &[]).await {
                    Err(error) if !D::is_already_there(&error) => return Err(error.into()),
                    Ok(_) | Err(_) => {}
                }
            }
            D::execute(connection, &remember, &[step.name.into()]).await?;
            ran.push(step.name);
        }
        connection.ping().await?;
        Ok(ran)
    }

    /// All statements that [`migrate`](Self::migrate) would run on an empty database, as one script.
    pub fn sql_script<D: Dialect>(&self) -> String {
        let mut script = format!("{};\n", self.ddl::<D>(REMEMBER).as_str());
        for step in MIGRATIONS {
            for statement in self.statements::<D>(step) {
                script.push_str(statement.as_str());
                script.push_str(";\n");
            }
            let remember = format!("INSERT INTO {{migrations}} (name) VALUES ('{}');\n", step.name);
            script.push_str(self.sql::<D>(&remember).as_str());
        }
        script
    }

    fn statements<D: Dialect>(&self, step: &Migration) -> impl Iterator<Item = Sql> {
        let lines = step.template.lines().map(|line| line.split("--").next().unwrap_or_default().trim_end());
        let text = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
        let statements: Vec<Sql> =
            text.split(';').map(str::trim).filter(|one| !one.is_empty()).map(|one| self.ddl::<D>(one)).collect();
        statements.into_iter()
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use sqlx::Sqlite;

    use super::*;

    #[test]
    fn no_token_is_left_in_any_script() {
        let script = Schema::default().prefix("shop_").unwrap().sql_script::<Sqlite>();
        assert!(!script.contains(['{', '}', '?']), "{script}");
        assert!(
            script.contains(
                "INDEX shop_published_due ON shop_msg_published (next_attempt_at, id) WHERE status = 'pending'"
            )
        );
        #[cfg(feature = "postgres")]
        assert!(!Schema::default().sql_script::<sqlx::Postgres>().contains(['{', '}', '?']));
        #[cfg(feature = "mysql")]
        assert!(!Schema::default().sql_script::<sqlx::MySql>().contains(['{', '}', '?']));
    }
}
