//! What the client must do against any broker, ours or Apache's.
//!
//! Each scenario is a sentence, takes the name server's address, and makes topics and groups of its own, so that all
//! run at the same time. The broker under test checks transactions every second (`transactionCheckInterval=1000
//! transactionTimeOut=1000`) and creates topics by itself.

pub mod consumers;
pub mod fake;
pub mod filters;
pub mod leases;
pub mod ordered;
pub mod producers;
pub mod pulling;
pub mod requests;
pub mod support;
pub mod transactions;

/// Calls `$with!{ module::scenario … }` with every scenario, so that a test file need not repeat the list.
#[macro_export]
macro_rules! for_each_client_scenario {
    ($with:ident) => {
        $with! {
            producers::a_sent_message_is_found_under_its_id_with_all_it_carried,
            producers::oneway_messages_arrive,
            producers::a_batch_lies_in_one_queue_at_consecutive_offsets,
            producers::large_bodies_travel_compressed_and_arrive_as_they_were,
            producers::messages_of_one_key_go_to_one_queue,
            producers::binary_headers_carry_the_same_messages,
            producers::a_send_goes_to_another_broker_when_the_first_is_gone,
            producers::a_send_goes_to_another_broker_when_the_first_is_busy,
            producers::a_final_refusal_is_not_tried_again,
            producers::a_message_that_is_too_large_is_refused_here_and_there,
            producers::a_topic_that_does_not_exist_is_created_by_its_first_message,
            producers::a_deleted_topic_has_no_route,
            producers::a_queue_that_does_not_exist_is_refused,
            producers::a_delayed_message_comes_after_its_delay,
            producers::a_hundred_sends_at_once_all_get_their_own_answer,
            consumers::only_messages_with_a_subscribed_tag_arrive,
            consumers::two_members_share_the_queues_and_the_one_that_stays_takes_over,
            consumers::every_broadcast_member_gets_every_message_and_keeps_its_own_offsets,
            consumers::a_failed_message_comes_again_with_its_first_topic,
            consumers::a_hopeless_message_goes_to_the_dead_letter_topic,
            consumers::a_panicking_handler_does_not_stop_the_others,
            consumers::a_shutdown_keeps_the_offsets_of_what_was_done,
            consumers::a_consumer_that_comes_before_its_topic_gets_its_messages,
            consumers::operators_look_into_a_member_and_hand_it_a_message,
            pulling::a_pull_consumer_seeks_searches_and_commits,
            pulling::an_offset_out_of_range_is_moved,
            pulling::a_pull_waits_for_a_message,
            pulling::an_unknown_topic_has_no_queues,
            ordered::messages_of_a_queue_are_handled_in_their_order,
            ordered::an_ordered_message_is_given_up_after_its_last_try,
            ordered::order_is_kept_when_queues_change_hands,
            requests::a_request_gets_its_own_reply,
            requests::a_request_without_a_reply_ends_in_time,
            producers::a_recalled_message_does_not_arrive,
            filters::an_sql_expression_chooses_by_properties,
            filters::an_expression_that_does_not_parse_is_an_error,
            leases::leased_messages_go_to_one_member_of_the_group,
            leases::a_message_that_is_not_acknowledged_comes_again,
            leases::leases_are_filtered_by_tag,
            leases::one_receive_waits_for_several_topics,
            leases::a_push_consumer_pops_when_its_broker_says_so,
            transactions::a_committed_message_becomes_visible,
            transactions::a_rolled_back_message_never_does,
            transactions::an_unknown_outcome_is_asked_for,
            transactions::a_prepared_message_is_decided_by_hand,
            transactions::a_dropped_message_is_decided_by_another_producer_of_the_group,
            transactions::several_messages_get_one_decision,
            transactions::several_dropped_messages_get_one_answer,
            transactions::a_check_that_fails_is_asked_again,
            transactions::checks_find_the_listener_of_their_topic_and_tag,
        }
    };
}
