//! The tests that every database passes: each is written once, over [`Dialect`], and `on_every_database!` makes a test of
//! it for the database of the file that calls it.

// each test binary uses a part of it
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod bench;
pub mod outbox;

/// Makes a `#[tokio::test]` of each function of the suite, with a database of its own from `$bench`.
#[macro_export]
macro_rules! on_every_database {
    ($bench:path: $($module:ident { $($name:ident),* $(,)? })*) => {
        $(mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let bench = $bench().await;
                $crate::suite::$module::$name(&bench).await;
            })*
        })*
    };
}

/// The list of all tests: one place, so that no database leaves one out.
#[macro_export]
macro_rules! whole_suite {
    ($bench:path) => {
        $crate::on_every_database! { $bench:
            outbox {
                a_message_is_there_if_and_only_if_the_transaction_commits,
            }
        }
    };
}
