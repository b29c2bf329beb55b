//! Many topics, each queue with a message.

use std::{collections::BTreeMap, io};

use bytes::BytesMut;
use tenonmq_protocol::{
    body::{TopicConfig, TopicConfigList, TopicFilterType, json},
    code::RequestCode,
    frame::Serialization,
    writer::{Envelope, FrameWriter},
};

use crate::{
    peer::Peer,
    workload::{Sender, Settings, pipeline},
};

/// Topics created by one request.
const TOGETHER: usize = 500;
/// Permission to read and write.
const READ_WRITE: i32 = 6;

fn name(topic: usize) -> String {
    format!("fill-{topic}")
}

/// Creates the topics.
pub(super) fn create(settings: &Settings, topics: usize, queues: usize) -> io::Result<()> {
    if topics == 0 {
        return Ok(());
    }
    let mut peer = Peer::connect(settings.broker)?;
    let mut firsts = (0..topics).step_by(TOGETHER);
    let write = |opaque: i32, out: &mut Vec<u8>| {
        let first = firsts.next().unwrap_or(topics);
        let list = TopicConfigList {
            topic_config_list: (first..topics.min(first + TOGETHER)).map(|topic| config(topic, queues)).collect(),
        };
        let body = json::to_vec_standard(&list);
        let mut header = BytesMut::new();
        let envelope = Envelope::request(RequestCode::UPDATE_AND_CREATE_TOPIC_LIST, opaque);
        FrameWriter::begin(&mut header, Serialization::Json, &envelope).finish(body.len());
        out.extend_from_slice(&header);
        out.extend_from_slice(&body);
    };
    pipeline::some(&mut peer, 1, topics.div_ceil(TOGETHER), write, |_| Ok(()))
}

fn config(topic: usize, queues: usize) -> TopicConfig {
    let queues = i32::try_from(queues).unwrap_or(i32::MAX);
    TopicConfig {
        attributes: BTreeMap::new(),
        order: false,
        perm: READ_WRITE,
        read_queue_nums: queues,
        topic_filter_type: TopicFilterType::SingleTag,
        topic_name: name(topic),
        topic_sys_flag: 0,
        write_queue_nums: queues,
    }
}

/// Sends a message to every queue of them.
pub(super) fn send_to_each(settings: &Settings, topics: usize, queues: usize) -> io::Result<()> {
    let mut peer = Peer::connect(settings.broker)?;
    for topic in 0..topics {
        let settings = Settings { topic: name(topic), size: 64, ..settings.clone() };
        let mut senders = (0..queues).map(|queue| Sender::new(&settings, queue as i32));
        let write = |opaque: i32, out: &mut Vec<u8>| {
            if let Some(mut sender) = senders.next() {
                sender.write(opaque, out);
            }
        };
        pipeline::some(&mut peer, settings.in_flight, queues, write, |_| Ok(()))?;
    }
    Ok(())
}
