//! The tests that every database passes: each is written once, over [`Dialect`], and `on_every_database!` makes a test of
//! it for the database of the file that calls it.

// each test binary uses a part of it
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod authority;
pub mod barrier;
pub mod bench;
pub mod compensation;
pub mod compensation_crash;
pub mod compensation_repairs;
pub mod coordination;
pub mod crash;
pub mod deadline;
pub mod deadline_crash;
pub mod endpoint;
pub mod half_broker;
pub mod inbox;
pub mod monitoring;
pub mod notification;
pub mod notification_api;
pub mod notification_crash;
pub mod notification_desk;
pub mod notification_strategy;
pub mod notification_target;
pub mod notification_tls;
pub mod outbox;
pub mod reconciliation;
pub mod relay;
pub mod saga;
pub mod tcc;
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
                a_check_that_was_answered_excludes_the_relay,
                a_half_message_that_was_rolled_back_elsewhere_is_sent_by_the_relay,
                people_hand_over_what_no_broker_will_ever_confirm,
                a_message_that_is_published_twice_is_visible_once,
                an_ordinary_relay_leaves_half_messages_alone,
                what_must_keep_its_order_or_its_time_is_the_relays,
                a_check_whose_query_fails_is_no_answer,
                decided_half_messages_are_cleaned_away_and_late_checks_answered,
                after_a_crash_anywhere_one_path_publishes,
                instances_and_checks_at_once_take_one_path,
            }
            outbox {
                a_message_is_there_if_and_only_if_the_transaction_commits,
                all_of_a_message_arrives_as_it_was_published,
                publishing_the_same_message_again_sends_it_once,
                one_key_for_two_messages_is_refused_with_the_row,
                what_the_broker_would_not_take_is_refused_before_it_is_written,
                cleaning_takes_what_is_done_and_old_and_nothing_else,
                archiving_moves_rows_instead_of_deleting_them,
                migrating_again_changes_nothing,
                the_exported_script_makes_the_same_tables,
            }
            relay {
                relays_side_by_side_send_each_message_once,
                relays_that_write_down_the_same_rows_do_not_lock_each_other_out,
                a_relay_that_dies_in_mid_claim_loses_nothing,
                a_message_that_kills_its_relays_is_not_tried_for_ever,
                failures_follow_the_schedule_to_the_millisecond,
                an_exhausted_message_is_kept_told_of_and_sent_again_by_hand,
                a_message_that_people_gave_up_is_kept_with_the_reason,
                a_row_that_nobody_can_read_holds_no_other_up_and_says_why,
                a_failing_message_holds_its_order_key_up_and_nothing_else,
                an_order_key_is_kept_by_relays_side_by_side,
                a_commit_is_noticed_at_once_though_nobody_calls,
                a_relay_with_little_room_sends_all,
                a_send_that_hangs_holds_no_other_up,
                a_database_that_goes_away_costs_time_and_nothing_else,
                rows_that_were_written_under_a_wrong_clock_do_not_wait_for_it,
            }
            inbox {
                a_second_delivery_is_acknowledged_without_running,
                consumers_that_have_a_message_at_once_do_not_both_pass,
                groups_and_keys_are_told_apart_as_they_are_written,
                effects_and_receipt_are_the_callers_transaction,
                effects_that_fail_leave_nothing_even_if_their_transaction_is_committed,
                failures_are_kept_with_their_cause_and_follow_the_schedule,
                an_exhausted_message_waits_for_people_and_is_told_of_once,
                another_message_with_a_known_key_is_refused_with_the_row,
                a_message_without_a_key_is_refused,
                a_failed_row_that_nobody_can_read_holds_no_other_up,
                effects_that_hang_are_rolled_back_and_count_as_failed,
                a_running_retrier_handles_what_failed,
                failures_that_were_recorded_under_a_wrong_clock_do_not_wait_for_it,
            }
            crash {
                effects_happen_once_whichever_point_a_crash_hits,
            }
            notification {
                a_notification_is_there_if_and_only_if_the_transaction_commits,
                the_receiver_gets_what_it_can_verify,
                only_a_whole_answer_200_is_a_success,
                couriers_side_by_side_deliver_each_task_once,
                a_running_courier_delivers_what_is_committed_though_nobody_calls,
                one_key_for_two_notifications_is_refused_with_the_row,
                who_has_no_key_is_not_called,
                a_task_that_nobody_can_read_holds_no_other_up_and_says_why,
                tasks_that_were_written_under_a_wrong_clock_do_not_wait_for_it,
                a_courier_that_cannot_write_down_what_it_knows_ends_all_the_same,
            }
            notification_strategy {
                growing_pauses_are_kept_to_the_millisecond_up_to_fifty_tries,
                doubling_minutes_end_after_five_tries_and_the_last_failure_is_stored,
                what_is_given_up_is_kept_shown_and_told_of_once,
                a_pause_that_the_endpoint_asks_for_is_kept_to_the_millisecond,
            }
            notification_target {
                a_target_that_hangs_holds_up_nobody_else,
                no_target_has_more_calls_at_once_than_allowed,
                an_open_circuit_uses_up_no_tries_and_closes_after_one_call_to_see,
                what_the_receiver_refuses_opens_no_circuit,
                a_target_that_asks_for_a_pause_is_left_alone_and_its_tasks_lose_no_tries,
                no_pause_is_longer_than_the_courier_allows,
                the_address_that_is_connected_to_is_the_one_that_was_checked,
            }
            notification_tls {
                an_endpoint_with_a_certificate_of_a_private_authority_is_called_if_that_is_trusted,
                a_certificate_that_does_not_hold_is_a_failure_with_its_cause,
                what_is_no_authority_is_refused,
            }
            notification_desk {
                what_people_decide_is_kept_with_who_why_and_when,
                a_task_that_is_being_tried_is_nobody_elses_to_decide,
                cleaning_takes_old_tasks_and_their_logs_and_nothing_else,
            }
            notification_api {
                a_receiver_fetches_what_it_missed_page_by_page,
                who_cannot_sign_is_shown_nothing_and_told_why,
                a_wrong_query_is_a_400_that_names_the_parameter,
                a_database_that_is_away_is_a_503,
            }
            notification_crash {
                after_a_crash_anywhere_the_receiver_is_told_and_the_log_says_what_happened,
                a_failure_that_nobody_wrote_down_counts,
                a_decision_is_kept_with_its_reason_or_not_made,
            }
            barrier {
                a_cancel_without_a_try_is_acknowledged_and_a_try_after_it_has_no_effect,
                each_command_takes_effect_once_however_often_it_comes,
                a_refused_try_leaves_nothing_and_is_refused_again,
                what_contradicts_a_decision_is_refused_with_the_row,
                commands_that_come_at_once_wait_for_each_other,
                a_participant_that_fails_leaves_nothing_even_if_its_transaction_is_committed,
                a_caller_that_runs_the_effects_itself_is_told_when,
                cleaning_leaves_branches_that_await_their_decision,
                a_command_that_nobody_can_read_is_refused_with_the_header,
            }
            tcc {
                what_all_branches_can_do_is_confirmed_in_all,
                one_refusal_cancels_all_and_is_the_reason,
                what_is_rolled_back_was_never_begun,
                the_deadline_decides_at_its_millisecond,
                a_late_success_changes_nothing,
                commands_are_repeated_to_the_millisecond_until_people_must_decide,
                an_answer_that_comes_when_all_hope_is_lost_counts,
                what_is_begun_twice_happens_once_and_a_name_has_one_plan,
                a_plan_that_cannot_be_carried_out_is_refused_before_it_is_written,
                a_row_that_nobody_can_read_holds_no_other_up_and_says_why,
                coordinators_side_by_side_decide_once,
                a_running_coordinator_cancels_what_is_late,
                an_end_that_cannot_be_written_is_heard_again,
                what_ended_is_counted_and_cleaned_away,
                branches_agree_in_whatever_order_messages_come,
                branches_agree_whichever_point_a_crash_hits,
            }
            saga {
                steps_are_done_one_after_the_other,
                what_was_done_is_compensated_in_reverse,
                a_step_that_is_too_late_is_compensated_as_well,
                a_compensation_that_fails_for_good_is_run_again_by_hand,
                a_saga_keeps_the_steps_with_which_it_was_begun,
                steps_agree_in_whatever_order_messages_come,
                steps_agree_whichever_point_a_crash_hits,
            }
            deadline {
                a_deadline_is_there_if_and_only_if_the_transaction_commits,
                nothing_happens_a_millisecond_early_and_a_message_that_comes_early_is_put_back,
                an_unpaid_order_is_cancelled_once_however_often_it_is_told,
                a_paid_order_is_left_alone,
                paying_at_the_same_moment_is_either_in_time_or_too_late,
                a_message_that_is_lost_is_made_up_for_after_the_grace,
                a_deadline_beyond_the_brokers_reach_gets_its_message_when_it_comes_near,
                a_cancelled_deadline_does_nothing,
                a_deadline_that_is_moved_comes_at_its_new_time_only,
                setting_again_changes_nothing_and_another_payload_is_refused,
                failures_follow_the_schedule_and_the_last_one_is_told_of,
                effects_that_hang_are_rolled_back,
                a_row_that_nobody_can_read_holds_no_other_up,
                without_messages_the_keeper_is_punctual,
                a_running_keeper_lets_deadlines_pass,
                deadlines_that_failed_under_a_wrong_clock_do_not_wait_for_it,
                what_is_overdue_is_the_backlog,
            }
            reconciliation {
                what_was_sent_is_compared_with_what_was_handled,
                what_is_under_way_at_the_end_of_the_period_is_not_missing,
                repairs_are_written_once_for_each_key_and_period,
                repairs_survive_a_crash_anywhere,
                pages_of_a_query_are_compared,
            }
            deadline_crash {
                stock_is_released_once_whichever_point_a_crash_hits,
            }
            compensation {
                what_lacks_its_counterpart_is_found_page_by_page_and_once,
                repairs_follow_the_schedule_to_the_millisecond_until_people_must_decide,
                a_counterpart_that_appears_closes_its_gap_whatever_its_state,
                scanners_side_by_side_find_and_repair_each_thing_once,
                a_pass_repairs_no_more_than_it_may_and_finds_no_more_than_may_be_open,
                a_query_that_fails_or_hangs_is_named_and_holds_up_nothing_else,
                a_repair_that_hangs_or_panics_counts_as_failed_and_holds_up_no_other,
                things_that_cannot_be_kept_are_told_of_and_hold_up_no_other,
                rows_that_nobody_can_read_hold_no_other_up_and_say_why,
                what_was_written_under_a_wrong_clock_is_scanned_and_repaired,
            }
            compensation_repairs {
                a_message_that_nobody_acknowledged_is_sent_again_and_its_gap_closed,
                what_is_on_its_way_or_given_up_is_not_repaired,
                a_row_with_a_half_message_is_sent_again_as_an_ordinary_one,
                a_record_is_made_up_once_and_a_late_original_changes_nothing,
                a_failure_is_told_once_and_the_receiver_is_barred,
                one_repair_follows_another_after_so_many,
                acknowledgements_come_by_a_topic_and_again_when_one_was_lost,
                a_receipt_is_there_if_and_only_if_the_effects_are,
            }
            compensation_crash {
                after_a_crash_anywhere_what_was_lost_is_repaired_once,
            }
            monitoring {
                an_outage_of_several_parts_is_one_notice_and_then_resolved,
                what_was_done_failed_and_came_twice_is_counted,
                a_channel_that_is_away_is_told_later_and_holds_up_no_other,
                a_table_that_cannot_be_read_is_told_of,
                half_messages_that_stay_undecided_are_counted_and_told_of,
            }
        }
    };
}
