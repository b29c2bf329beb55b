//! Whether a group pulls or pops a topic (401, 402), kept in `config/messageRequestMode.json`.

use parking_lot::Mutex;
use tenonmq_protocol::{
    body::{MessageRequestModes, SetMessageRequestMode},
    code::ResponseCode,
};
use tenonmq_storage::{ConfigFile, FileError};

use crate::{
    core::{self, Core, LoadError, names::RETRY_PREFIX},
    error::Refusal,
};

/// Name of the file below `config/`.
pub const FILE_NAME: &str = "messageRequestMode.json";

/// What operators have set.
pub struct RequestModes {
    table: Mutex<MessageRequestModes>,
    /// Held while it is written.
    file: Mutex<ConfigFile>,
}

impl RequestModes {
    /// The table of the file.
    ///
    /// # Errors
    /// The file and its backup exist and neither can be read.
    pub fn load(file: ConfigFile) -> Result<Self, LoadError> {
        let table = core::load_json(&file)?.unwrap_or_default();
        Ok(Self { table: Mutex::new(table), file: Mutex::new(file) })
    }

    /// What was set for a topic and group.
    pub fn get(&self, topic: &str, group: &str) -> Option<SetMessageRequestMode> {
        self.table.lock().message_request_mode_map.get(topic)?.get(group).cloned()
    }

    /// Everything, in the shape of the file and of code 402.
    pub fn snapshot(&self) -> MessageRequestModes {
        self.table.lock().clone()
    }

    /// Writes the file. Blocks on the disk: not for a connection's task.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> Result<(), FileError> {
        let file = self.file.lock();
        core::save_json(&file, &self.snapshot())
    }
}

/// Sets how a group reads a topic. The caller saves the table.
///
/// # Errors
/// 16 for a retry topic, which is always pulled; 17 and 26: topic or group do not exist.
pub fn set(core: &Core, asked: SetMessageRequestMode) -> Result<(), Refusal> {
    let (topic, group) = (asked.topic.as_str(), asked.consumer_group.as_str());
    if topic.starts_with(RETRY_PREFIX) {
        return Err(Refusal::new(ResponseCode::NO_PERMISSION, "retry topic is not allowed to set mode"));
    }
    if core.topics.get(topic).is_none() {
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, format!("topic[{topic}] not exist")));
    }
    if core.groups.find_or_create(group).is_none() {
        let remark = "subscription group does not exist";
        return Err(Refusal::new(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    }
    let mut table = core.request_modes.table.lock();
    let groups = table.message_request_mode_map.entry(topic.to_owned()).or_default();
    groups.insert(group.to_owned(), asked.clone());
    Ok(())
}
