//! The tests that every database passes: each is written once, over [`Dialect`], and `on_every_database!` makes a test of
//! it for the database of the file that calls it.

// each test binary uses a part of it
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod bench;
pub mod half_broker;
pub mod outbox;
pub mod transactional;

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
            transactional {
                what_commits_becomes_visible_by_its_half_message,
                what_is_rolled_back_is_dropped_by_its_check,
                a_check_is_answered_by_any_instance,
                a_check_during_the_transaction_waits_for_its_end,
                a_caller_that_is_slower_than_the_check_loses_nothing,
                a_broker_that_is_away_costs_nothing_but_its_half_messages,
                what_the_relay_took_over_is_not_committed_when_the_broker_comes_back,
                a_commit_whose_answer_is_lost_excludes_the_relay,
                a_half_message_that_was_rolled_back_elsewhere_is_sent_by_the_relay,
                people_hand_over_what_no_broker_will_ever_confirm,
                a_message_that_is_published_twice_is_visible_once,
                an_ordinary_relay_leaves_half_messages_alone,
                what_must_keep_its_order_or_its_time_is_the_relays,
                a_check_whose_query_fails_is_no_answer,
                decided_half_messages_are_cleaned_away_and_late_checks_answered,
                after_a_crash_anywhere_one_path_publishes,
            }
            outbox {
                a_message_is_there_if_and_only_if_the_transaction_commits,
            }
        }
    };
}
