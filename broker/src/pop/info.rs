//! The texts in a pop's answer from which clients make handles (`remoting.md` section 6.2).

use std::fmt::Write;

use tenonmq_protocol::header::PopTopic as Kind;

use super::order::Order;

/// `startOffsetInfo`, `msgOffsetInfo` and `orderCountInfo`, as they grow from queue to queue.
#[derive(Debug, Default)]
pub struct Info {
    /// `kind queueId startOffset;…`
    pub starts: String,
    /// `kind queueId offset,offset…;…`
    pub offsets: String,
    /// `kind queueId count` and `kind qo<queueId>%<offset> count`, joined by `;`.
    pub counts: String,
}

impl Info {
    /// Messages of one queue.
    pub fn add(&mut self, kind: Kind, queue_id: i32, start: i64, offsets: &[i64]) {
        let kind = kind.as_str();
        // Writing to a `String` cannot fail.
        let _ = write!(part(&mut self.starts), "{kind} {queue_id} {start}");
        let _ = write!(part(&mut self.offsets), "{kind} {queue_id} ");
        for (offset, at) in offsets.iter().zip(0..) {
            let _ = write!(self.offsets, "{}{offset}", if at == 0 { "" } else { "," });
        }
    }

    /// How often messages of an ordered pop came before.
    pub fn add_counts(&mut self, kind: Kind, queue_id: i32, order: &Order) {
        let kind = kind.as_str();
        for (offset, count) in &order.counts {
            let _ = write!(part(&mut self.counts), "{kind} qo{queue_id}%{offset} {count}");
        }
        let least = order.least_count();
        let _ = write!(part(&mut self.counts), "{kind} {queue_id} {least}"); // what old clients look at
    }
}

fn part(text: &mut String) -> &mut String {
    if !text.is_empty() {
        text.push(';');
    }
    text
}
