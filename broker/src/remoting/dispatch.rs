//! Which handler serves which request code of the broker.

use std::sync::Arc;

use tenonmq_protocol::code::RequestCode;
use tenonmq_storage::Store;

use super::{Connection, Dispatch, Handled, Outbox, Request, handlers};
use crate::{core::Core, group::heartbeat};

/// The broker role.
pub struct BrokerDispatch {
    core: Arc<Core>,
    is_fast_port: bool,
}

impl BrokerDispatch {
    /// The main port (`listenPort`): every request.
    pub fn new(core: Arc<Core>) -> Self {
        Self { core, is_fast_port: false }
    }

    /// The fast port (`listenPort` − 2): every request but those that may be held for long.
    pub fn fast_port(core: Arc<Core>) -> Self {
        Self { core, is_fast_port: true }
    }
}

impl Dispatch for BrokerDispatch {
    fn handle(&self, request: &Request<'_>, out: &mut Outbox) -> Handled {
        use RequestCode as Code;
        let core = &self.core;
        match request.command.request_code() {
            Code::SEND_MESSAGE | Code::SEND_MESSAGE_V2 | Code::SEND_BATCH_MESSAGE => {
                handlers::send::message(core, request, out)
            }
            Code::CONSUMER_SEND_MSG_BACK => handlers::retry::send_back(core, request, out),
            Code::SEND_REPLY_MESSAGE | Code::SEND_REPLY_MESSAGE_V2 => handlers::reply::push(core, request, out),
            Code::PULL_MESSAGE | Code::LITE_PULL_MESSAGE if !self.is_fast_port => {
                handlers::pull::pull(core, request, out)
            }
            Code::END_TRANSACTION => handlers::transaction::end(core, request, out),
            Code::RESUME_CHECK_HALF_MESSAGE => handlers::transaction::resume(core, request, out),
            Code::QUERY_CONSUMER_OFFSET => handlers::offset::query(core, request, out),
            Code::UPDATE_CONSUMER_OFFSET => handlers::offset::update(core, request, out),
            Code::SEARCH_OFFSET_BY_TIMESTAMP => handlers::offset::search(core, request, out),
            Code::GET_MAX_OFFSET => handlers::offset::max(core, request, out),
            Code::GET_MIN_OFFSET => handlers::offset::min(core, request, out),
            Code::GET_EARLIEST_MSG_STORETIME => handlers::offset::earliest(core, request, out),
            Code::HEART_BEAT => handlers::client::heartbeat(core, request, out),
            Code::UNREGISTER_CLIENT => handlers::client::unregister(core, request, out),
            Code::GET_CONSUMER_LIST_BY_GROUP => handlers::client::consumer_list(core, request, out),
            Code::CHECK_CLIENT_CONFIG => handlers::client::check_config(core, request, out),
            Code::LOCK_BATCH_MQ => handlers::lock::lock(core, request, out),
            Code::UNLOCK_BATCH_MQ => handlers::lock::unlock(core, request, out),
            Code::QUERY_MESSAGE => handlers::query::by_key(core, request, out),
            Code::VIEW_MESSAGE_BY_ID => handlers::query::by_offset(core, request, out),
            Code::UPDATE_AND_CREATE_TOPIC => handlers::topic::create(core, request, out),
            Code::UPDATE_AND_CREATE_TOPIC_LIST => handlers::topic::create_list(core, request, out),
            Code::DELETE_TOPIC_IN_BROKER => handlers::topic::delete(core, request, out),
            Code::GET_TOPIC_STATS_INFO => handlers::topic::stats(core, request, out),
            Code::GET_TOPIC_CONFIG => handlers::topic::config(core, request, out),
            Code::GET_ALL_TOPIC_CONFIG => handlers::topic::all(core, request, out),
            Code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => handlers::topic::system(core, request, out),
            Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => handlers::group::create(core, request, out),
            Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => handlers::group::create_list(core, request, out),
            Code::DELETE_SUBSCRIPTIONGROUP => handlers::group::delete(core, request, out),
            Code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => handlers::group::all(core, request, out),
            Code::GET_SUBSCRIPTIONGROUP_CONFIG => handlers::group::config(core, request, out),
            Code::UPDATE_AND_GET_GROUP_FORBIDDEN => handlers::group::forbidden(core, request, out),
            Code::GET_CONSUMER_CONNECTION_LIST => handlers::progress::consumers(core, request, out),
            Code::GET_PRODUCER_CONNECTION_LIST => handlers::progress::producers(core, request, out),
            Code::GET_ALL_PRODUCER_INFO => handlers::progress::all_producers(core, request, out),
            Code::GET_CONSUME_STATS => handlers::progress::of_group(core, request, out),
            Code::GET_BROKER_CONSUME_STATS => handlers::progress::of_all_groups(core, request, out),
            Code::QUERY_CONSUME_TIME_SPAN => handlers::progress::time_spans(core, request, out),
            Code::QUERY_TOPIC_CONSUME_BY_WHO => handlers::progress::groups_of_topic(core, request, out),
            Code::QUERY_TOPICS_BY_CONSUMER => handlers::progress::topics_of_group(core, request, out),
            Code::QUERY_SUBSCRIPTION_BY_CONSUMER => handlers::progress::subscription(core, request, out),
            Code::GET_ALL_CONSUMER_OFFSET => handlers::progress::all_offsets(core, request, out),
            Code::GET_ALL_DELAY_OFFSET => handlers::progress::delay_offsets(core, request, out),
            Code::INVOKE_BROKER_TO_RESET_OFFSET => handlers::progress::reset(core, request, out),
            Code::QUERY_CORRECTION_OFFSET => handlers::progress::correction(core, request, out),
            Code::CLONE_GROUP_OFFSET => handlers::progress::copy(core, request, out),
            Code::QUERY_CONSUME_QUEUE => handlers::progress::queue_entries(core, request, out),
            Code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => handlers::relay::offsets(core, request, out),
            Code::GET_CONSUMER_RUNNING_INFO => handlers::relay::running_info(core, request, out),
            Code::CONSUME_MESSAGE_DIRECTLY => handlers::relay::consume(core, request, out),
            Code::QUERY_ASSIGNMENT => handlers::assignment::query(core, request, out),
            Code::SET_MESSAGE_REQUEST_MODE => handlers::assignment::set_mode(core, request, out),
            Code::GET_ALL_MESSAGE_REQUEST_MODE => handlers::assignment::all_modes(core, request, out),
            Code::VIEW_BROKER_STATS_DATA => handlers::broker::statistic(core, request, out),
            Code::GET_BROKER_HA_STATUS => handlers::broker::replication(core, request, out),
            Code::GET_BROKER_CONFIG => handlers::broker::settings(core, request, out),
            Code::UPDATE_BROKER_CONFIG => handlers::broker::update(core, request, out),
            Code::GET_BROKER_RUNTIME_INFO => handlers::broker::runtime(core, request, out),
            Code::CLEAN_EXPIRED_CONSUMEQUEUE | Code::DELETE_EXPIRED_COMMITLOG | Code::CLEAN_UNUSED_TOPIC => {
                handlers::broker::clean(core, request, out)
            }
            Code::GET_COLD_DATA_FLOW_CTR_INFO => handlers::broker::cold_reads(core, request, out),
            Code::GET_BROKER_EPOCH_CACHE => handlers::broker::epochs(request, out),
            Code::DEAD_LETTER_GROUPS => handlers::dead_letter::list(core, request, out),
            Code::DEAD_LETTERS => handlers::dead_letter::show(core, request, out),
            Code::REDRIVE_START => handlers::dead_letter::start(core, request, out),
            Code::REDRIVE_JOBS => handlers::dead_letter::jobs(core, request, out),
            Code::REDRIVE_STEER => handlers::dead_letter::steer(core, request, out),
            Code::REDRIVE_RESULTS => handlers::dead_letter::results(core, request, out),
            Code::OFFSET_HISTORY => handlers::desk::offset_history(core, request, out),
            Code::OFFSET_UNDO => handlers::desk::offset_undo(core, request, out),
            Code::OFFSET_RESET => handlers::desk::offset_reset(core, request, out),
            Code::QUEUE_OWNERS => handlers::desk::queue_owners(core, request, out),
            Code::SUBSCRIPTION_LIST => handlers::desk::subscriptions(core, request, out),
            Code::SUBSCRIPTION_CONFLICTS => handlers::desk::subscription_conflicts(core, request, out),
            Code::GET_TIMER_CHECK_POINT => handlers::timer::check_point(core, request, out),
            Code::GET_TIMER_METRICS => handlers::timer::metrics(core, request, out),
            Code::RECALL_MESSAGE => handlers::timer::recall(core, request, out),
            Code::TIMER_RECALL => handlers::timer::recall_at_desk(core, request, out),
            Code::TIMER_LIST => handlers::timer::list(core, request, out),
            Code::TIMER_SHOW => handlers::timer::show(core, request, out),
            Code::TRANSACTION_LIST => handlers::transaction::list(core, request, out),
            Code::TRANSACTION_EXHAUSTED => handlers::transaction::exhausted(core, request, out),
            Code::TRANSACTION_SHOW => handlers::transaction::show(core, request, out),
            Code::TRANSACTION_ACT => handlers::transaction::act(core, request, out),
            Code::TRANSACTION_AUDIT => handlers::transaction::audit(core, request, out),
            Code::OFFSET_PREVIEW => handlers::desk::preview_reset(core, request, out),
            Code::POP_MESSAGE if !self.is_fast_port => handlers::pop::pop(core, request, out),
            Code::ACK_MESSAGE => handlers::pop::ack(core, request, out),
            Code::BATCH_ACK_MESSAGE => handlers::pop::batch_ack(core, request, out),
            Code::CHANGE_MESSAGE_INVISIBLETIME => handlers::pop::change_invisible(core, request, out),
            Code::PEEK_MESSAGE => handlers::pop::peek(core, request, out),
            Code::NOTIFICATION if !self.is_fast_port => handlers::pop::notification(core, request, out),
            Code::POLLING_INFO => handlers::pop::polling_info(core, request, out),
            Code::POP_ROLLBACK => handlers::pop::rollback(request, out),
            Code::LEASE_LIST => handlers::pop::leases(core, request, out),
            Code::LEASE_QUEUES => handlers::pop::lease_queues(core, request, out),
            _ => handlers::unsupported(request, out),
        }
    }

    fn store(&self) -> Option<&Store> {
        Some(&self.core.store)
    }

    fn closed(&self, connection: &Arc<Connection>) {
        heartbeat::closed(&self.core, connection);
    }
}
