//! Which of a topic's queues this member of a group reads.
//!
//! Every member computes the division from the same sorted lists of queues and members, so all agree without talking.

use tenonmq_protocol::message::queue::MessageQueue;

/// Apache's AVG strategy: consecutive runs of queues, the first members taking one more when it does not divide evenly.
///
/// `members` and `queues` must be sorted. A member that is not in the list gets nothing.
pub fn allocate_averagely<'q>(queues: &'q [MessageQueue], members: &[String], me: &str) -> &'q [MessageQueue] {
    let Some(index) = members.iter().position(|id| id == me) else { return &[] };
    let (share, rest) = (queues.len() / members.len(), queues.len() % members.len());
    let start = index * share + index.min(rest);
    let end = start + share + usize::from(index < rest);
    queues.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(n: i32) -> Vec<MessageQueue> {
        (0..n).map(|id| MessageQueue::new("T", "b", id)).collect()
    }

    fn shares(queue_count: i32, member_count: usize) -> Vec<Vec<i32>> {
        let queues = queues(queue_count);
        let members: Vec<String> = (0..member_count).map(|n| format!("c{n}")).collect();
        members
            .iter()
            .map(|me| allocate_averagely(&queues, &members, me).iter().map(|q| q.queue_id).collect())
            .collect()
    }

    #[test]
    fn the_first_members_take_one_queue_more() {
        assert_eq!(shares(8, 3), [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7]]);
        assert_eq!(shares(4, 2), [vec![0, 1], vec![2, 3]]);
    }

    #[test]
    fn members_beyond_the_number_of_queues_get_nothing() {
        assert_eq!(shares(2, 3), [vec![0], vec![1], vec![]]);
    }

    #[test]
    fn somebody_who_is_not_listed_gets_nothing() {
        assert!(allocate_averagely(&queues(4), &["a".into()], "b").is_empty());
        assert!(allocate_averagely(&queues(4), &[], "b").is_empty());
    }
}
