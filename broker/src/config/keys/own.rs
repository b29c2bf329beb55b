//! The keys that upstream does not have: the roles of one process, and the limits of its front end.

use super::Default::{Fixed, Unset};
use super::Kind::{Bool, Choice, Int, Long, Text};
use super::{Key, key};

/// Every key of our own, in alphabetical order.
pub(super) const KEYS: &[Key] = &[
    key("advertisedAddressCheckTimeoutMillis", Int, Fixed("1000")),
    key("assignmentTopicsMax", Int, Fixed("100000")),
    key("brokerEnable", Bool, Fixed("true")),
    key("clientGroupsMax", Int, Fixed("100000")),
    key("clientGroupsPerConnectionMax", Int, Fixed("1000")),
    key("clientSubscriptionsPerGroupMax", Int, Fixed("10000")),
    key("conflictingSubscriptionsRefused", Bool, Fixed("false")),
    key("consumerOffsetsMax", Int, Fixed("2000000")),
    key("deadLetterJobsKeptMax", Int, Fixed("100")),
    key("deadLetterJobsMax", Int, Fixed("16")),
    key("deadLetterRedrivesMax", Int, Fixed("3")),
    key("deadLettersPerSecond", Int, Fixed("1000")),
    key("filterDataMax", Int, Fixed("100000")),
    key("filterExpressionMaxBytes", Int, Fixed("65536")),
    key("filterExpressionsMax", Int, Fixed("1024")),
    key("filterRestRefused", Bool, Fixed("false")),
    key("namesrvBindAddress", Text, Unset),
    key("namesrvEnable", Choice(&["auto", "true", "false"]), Fixed("auto")),
    key("namesrvListenPort", Int, Fixed("9876")),
    key("offsetHistoryMaxBytes", Long, Fixed("16777216")),
    key("popDeadLetterEnable", Bool, Fixed("false")),
    key("popLeaseLogFileSize", Int, Fixed("16777216")),
    key("popLeasesMax", Int, Fixed("5000000")),
    key("popOrderedSkipsAcknowledged", Bool, Fixed("false")),
    key("popQueuesMax", Int, Fixed("1000000")),
    key("queueLocksMax", Int, Fixed("1000000")),
    key("namesrvMaxBrokers", Int, Fixed("10000")),
    key("namesrvMaxTopics", Int, Fixed("1000000")),
    key("remotingFrameMaxLength", Int, Fixed("16777216")),
    key("remotingMaxConnections", Int, Fixed("20000")),
    key("remotingWorkerThreads", Int, Fixed("0")),
    key("remotingWriteTimeoutMillis", Int, Fixed("30000")),
    key("sendBacksRememberedMax", Int, Fixed("0")),
    key("shutdownTimeoutMillis", Int, Fixed("5000")),
    key("statsItemsMax", Int, Fixed("10000")),
    key("subscriptionGroupsMax", Int, Fixed("100000")),
    key("timerPendingMax", Int, Fixed("10000000")),
    key("transactionGiveUpAfterHours", Int, Fixed("0")),
];
