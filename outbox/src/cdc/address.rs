//! Where the stream is, read from a URL.
//!
//! The pool's own options do not give their password away, so the URL is asked for once more.

use std::{str::FromStr, time::Duration};

use pgwire_replication::{ReplicationConfig, SslMode, TlsConfig};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::settings::Settings;
use crate::error::Error;

/// What a confirmed position waits before the server is told of it.
const STATUS_EACH: Duration = Duration::from_millis(500);
/// No message of ours is larger: ids are sent, or rows where the server cannot leave out columns (before PostgreSQL 15).
const LARGEST_MESSAGE: usize = 1 << 30;

/// A server, a user and a database. Shown without the password.
pub(super) struct Address {
    pub(super) options: PgConnectOptions,
    pub(super) database: String,
    password: String,
    tls: TlsConfig,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Replication { what: "url".into(), reason };
        // neither error shows the password
        let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong(format!("{:?} is not postgres://", url.scheme())));
        }
        let options = PgConnectOptions::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let database = options.get_database().unwrap_or(options.get_username()).to_owned();
        let password = match url.password() {
            Some(password) => decoded(password).ok_or_else(|| wrong("the password is not percent-encoded".into()))?,
            None => std::env::var("PGPASSWORD").unwrap_or_default(),
        };
        let tls = tls(&options, &url)?;
        Ok(Self { options, database, password, tls })
    }

    /// For a session of the stream.
    pub(super) fn replication(&self, settings: &Settings) -> ReplicationConfig {
        let Self { options, database, password, tls } = self;
        let host = match options.get_socket() {
            Some(folder) => folder.to_string_lossy().into_owned(),
            None => options.get_host().to_owned(),
        };
        ReplicationConfig::new(
            host,
            options.get_username(),
            password.as_str(),
            database.as_str(),
            settings.slot.as_str(),
            settings.publication.as_str(),
        )
        .with_port(options.get_port())
        .with_tls(tls.clone())
        .with_status_interval(STATUS_EACH)
        .with_max_message_size(LARGEST_MESSAGE)
        .with_application_name("tenonmq-outbox")
    }
}

fn tls(options: &PgConnectOptions, url: &Url) -> Result<TlsConfig, Error> {
    let wanted = match options.get_ssl_mode() {
        PgSslMode::Require => SslMode::Require,
        PgSslMode::VerifyCa => SslMode::VerifyCa,
        PgSslMode::VerifyFull => SslMode::VerifyFull,
        PgSslMode::Prefer if cfg!(feature = "postgres-cdc-tls") && options.get_socket().is_none() => SslMode::Prefer,
        _ => return Ok(TlsConfig::disabled()),
    };
    if !cfg!(feature = "postgres-cdc-tls") {
        let reason = format!("{wanted:?} needs the feature postgres-cdc-tls");
        return Err(Error::Replication { what: "sslmode".into(), reason });
    }
    let path = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, path)| path.into_owned().into());
    Ok(TlsConfig {
        mode: wanted,
        ca_pem_path: path("sslrootcert"),
        client_cert_pem_path: path("sslcert"),
        client_key_pem_path: path("sslkey"),
        ..TlsConfig::disabled()
    })
}

/// Without the percent signs; `None` when there is none of the digits.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut left) = (Vec::new(), text.as_bytes());
    while let Some((&first, rest)) = left.split_first() {
        if first != b'%' {
            bytes.push(first);
            left = rest;
            continue;
        }
        let (digits, rest) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        left = rest;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_who() {
        let address = Address::parse("postgres://relay:p%40ss%25@db.example:6432/shop?sslmode=disable").unwrap();
        let config = address.replication(&Settings::named_after("shop", &crate::Schema::default()));
        assert_eq!((config.host.as_str(), config.port, config.user.as_str()), ("db.example", 6432, "relay"));
        assert_eq!((config.password.as_str(), config.database.as_str()), ("p@ss%", "shop"));
        assert_eq!(config.slot, "tenonmq_shop_msg_published");
    }

    #[test]
    fn what_cannot_be_read_is_told_without_the_password() {
        for bad in
            ["", "db/shop", "mysql://u:secret@db/shop", "postgres://u:secret@db:port/shop", "postgres://u:se%cret@db/s"]
        {
            let Err(error) = Address::parse(bad) else { panic!("{bad}") };
            assert!(error.to_string().contains("url") && !error.to_string().contains("secret"), "{error}");
        }
    }

    #[cfg(not(feature = "postgres-cdc-tls"))]
    #[test]
    fn a_connection_that_must_be_secret_is_never_plain() {
        for mode in ["require", "verify-ca", "verify-full"] {
            let Err(error) = Address::parse(&format!("postgres://u:p@db/s?sslmode={mode}")) else { panic!("{mode}") };
            assert!(error.to_string().contains("postgres-cdc-tls"), "{error}");
        }
    }
}
