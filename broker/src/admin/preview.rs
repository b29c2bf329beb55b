//! What moving a group would repeat or skip, before it is done.

use tenonmq_protocol::{
    body::offset_desk::{PreviewReset, QueueMove, ResetPreview},
    code::ResponseCode,
};
use tenonmq_storage::Boundary;

use crate::{core::Core, error::Refusal};

/// Where a group is to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To the first message stored at or after that time, in milliseconds.
    Time(i64),
    /// To that offset.
    Offset(i64),
    /// To the first message that is still there.
    Min,
    /// To the end.
    Max,
}

impl Target {
    /// The target as requests name it.
    ///
    /// # Errors
    /// 29: a name that nobody knows, or a value that is missing or negative.
    pub fn parse(to: &str, value: Option<i64>) -> Result<Self, Refusal> {
        let value = || match value {
            Some(value) if value >= 0 => Ok(value),
            Some(value) => Err(Refusal::invalid(format!("value: {value} is negative"))),
            None => Err(Refusal::invalid(format!("value: needed with to={to}"))),
        };
        match to {
            "time" => Ok(Self::Time(value()?)),
            "offset" => Ok(Self::Offset(value()?)),
            "min" => Ok(Self::Min),
            "max" => Ok(Self::Max),
            other => Err(Refusal::invalid(format!("to: {other:?} is none of time, offset, min, max"))),
        }
    }

    /// Where it lies in a queue; never outside the messages that are there.
    pub fn in_queue(self, core: &Core, topic: &str, queue_id: i32) -> Place {
        let Some(queue) = core.store.find_queue(topic, queue_id) else { return Place::default() };
        let (min, max) = (queue.min_offset(), queue.max_offset());
        let wanted = match self {
            Self::Time(ms) => core.store.offset_by_time(&queue, ms, Boundary::Lower),
            Self::Offset(offset) => offset,
            Self::Min => min,
            Self::Max => max,
        };
        Place { min, max, target: wanted.max(min).min(max) }
    }
}

/// A target in one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Where the queue begins.
    pub min: i64,
    /// Where the queue ends.
    pub max: i64,
    /// Where the group goes on.
    pub target: i64,
}

/// Counts what would come again and what would be passed over (540,012). Nothing is changed.
///
/// Messages that were deleted meanwhile count as neither; nor does a queue in which the group has no offset.
///
/// # Errors
/// 29: the target makes no sense. 17: there is no such topic, or not that queue in it.
pub fn preview(core: &Core, asked: &PreviewReset) -> Result<ResetPreview, Refusal> {
    let target = Target::parse(&asked.to, asked.value)?;
    let mut all = ResetPreview::default();
    for queue_id in queues(core, &asked.topic, asked.queue_id)? {
        let place = target.in_queue(core, &asked.topic, queue_id);
        let committed = core.offsets.get(&asked.group, &asked.topic, queue_id);
        let one = moved(queue_id, committed, place);
        all.repeats += one.repeats;
        all.skips += one.skips;
        all.queues.push(one);
    }
    Ok(all)
}

/// The queues that a request means.
///
/// # Errors
/// 17: there is no such topic, or not that queue in it.
pub fn queues(core: &Core, topic: &str, queue_id: Option<i32>) -> Result<Vec<i32>, Refusal> {
    let Some(found) = core.topics.get(topic) else {
        return Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, format!("topic: {topic:?} does not exist")));
    };
    let count = found.config.read_queue_nums.max(found.config.write_queue_nums);
    match queue_id {
        None => Ok((0..count).collect()),
        Some(id) if (0..count).contains(&id) => Ok(vec![id]),
        Some(id) => {
            let remark = format!("queueId: {id} is not a queue of {topic}, which has {count}");
            Err(Refusal::new(ResponseCode::TOPIC_NOT_EXIST, remark))
        }
    }
}

fn moved(queue_id: i32, committed: Option<i64>, Place { min, max, target }: Place) -> QueueMove {
    let (repeats, skips) = committed.map_or((0, 0), |at| {
        let at = at.max(min).min(max);
        ((at - target).max(0), (target - at).max(0))
    });
    QueueMove { committed, max, min, queue_id, repeats, skips, target }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remoting::testing::{Peer, TestBroker};

    fn wanted(to: &str, value: Option<i64>) -> PreviewReset {
        PreviewReset { group: "g".into(), topic: "t".into(), queue_id: None, to: to.into(), value }
    }

    #[tokio::test]
    async fn a_preview_counts_what_comes_again_and_what_is_passed_over_and_changes_nothing() {
        let (broker, peer) = (TestBroker::new(), Peer::new(1));
        broker.topic("t", 2);
        for _ in 0..10 {
            broker.store("t", 0, b"x");
            broker.store("t", 1, b"x");
        }
        broker.core.offsets.set("g", "t", 0, 7);

        let preview = broker.desk(&peer, &wanted("offset", Some(3))).await.unwrap();
        assert_eq!((preview.repeats, preview.skips), (4, 0));
        let zero = QueueMove { committed: Some(7), max: 10, min: 0, queue_id: 0, repeats: 4, skips: 0, target: 3 };
        assert_eq!(preview.queues[0], zero);
        assert_eq!(preview.queues[1].committed, None);
        let preview = broker.desk(&peer, &wanted("max", None)).await.unwrap();
        assert_eq!((preview.repeats, preview.skips), (0, 3));
        assert_eq!(broker.core.offsets.get("g", "t", 0), Some(7));
        assert_eq!(broker.core.offsets.get("g", "t", 1), None);
    }

    #[tokio::test]
    async fn a_preview_that_makes_no_sense_is_refused_with_the_name_of_the_field() {
        let (broker, peer) = (TestBroker::new(), Peer::new(1));
        assert_eq!(broker.desk(&peer, &wanted("min", None)).await, Err((17, "topic: \"t\" does not exist".into())));
        broker.topic("t", 2);
        let remark = "to: \"there\" is none of time, offset, min, max";
        assert_eq!(broker.desk(&peer, &wanted("there", None)).await, Err((29, remark.into())));
        assert_eq!(broker.desk(&peer, &wanted("time", None)).await, Err((29, "value: needed with to=time".into())));
        assert_eq!(broker.desk(&peer, &wanted("offset", Some(-1))).await, Err((29, "value: -1 is negative".into())));
        let far = PreviewReset { queue_id: Some(2), ..wanted("min", None) };
        let remark = "queueId: 2 is not a queue of t, which has 2";
        assert_eq!(broker.desk(&peer, &far).await, Err((17, remark.into())));
    }
}
