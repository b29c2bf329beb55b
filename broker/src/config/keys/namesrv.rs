//! The keys of the name-server role (upstream `NamesrvConfig`), with the defaults of 5.3.3.

use super::Default::{Fixed, Unset};
use super::Kind::{Bool, Int, Text};
use super::{Key, key};

/// Every name-server key that no other table has, in alphabetical order.
pub(super) const KEYS: &[Key] = &[
    key("clientRequestThreadPoolNums", Int, Fixed("8")),
    key("clientRequestThreadPoolQueueCapacity", Int, Fixed("50000")),
    key("clusterTest", Bool, Fixed("false")),
    key("configStorePath", Text, Fixed("conf/ns.properties")),
    key("defaultThreadPoolNums", Int, Fixed("16")),
    key("defaultThreadPoolQueueCapacity", Int, Fixed("10000")),
    key("deleteTopicWithBrokerRegistration", Bool, Fixed("false")),
    key("enableAllTopicList", Bool, Fixed("true")),
    key("enableControllerInNamesrv", Bool, Fixed("false")),
    key("enableTopicList", Bool, Fixed("true")),
    key("kvConfigPath", Text, Unset),
    key("needWaitForService", Bool, Fixed("false")),
    key("notifyMinBrokerIdChanged", Bool, Fixed("false")),
    key("orderMessageEnable", Bool, Fixed("false")),
    key("productEnvName", Text, Fixed("center")),
    key("returnOrderTopicConfigToBroker", Bool, Fixed("true")),
    key("scanNotActiveBrokerInterval", Int, Fixed("5000")),
    key("supportActingMaster", Bool, Fixed("false")),
    key("unRegisterBrokerQueueCapacity", Int, Fixed("3000")),
    key("waitSecondsForService", Int, Fixed("45")),
];
