package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

class PullConsumerTest extends Clients {
    @Test
    void the_queues_of_a_topic_are_listed() throws Exception {
        String topic = Cluster.topic(3);
        Set<Integer> ids = puller().fetchSubscribeMessageQueues(topic).stream()
            .map(MessageQueue::getQueueId).collect(Collectors.toSet());
        assertEquals(Set.of(0, 1, 2), ids);
    }

    @Test
    void a_pull_returns_messages_from_the_offset_asked_for() throws Exception {
        MessageQueue queue = filled(10);
        PullResult result = puller().pull(queue, "*", 4, 3);
        assertEquals(PullStatus.FOUND, result.getPullStatus());
        assertEquals(List.of("message 4", "message 5", "message 6"), Inbox.bodies(result.getMsgFoundList()));
        assertEquals(7, result.getNextBeginOffset());
        assertEquals(0, result.getMinOffset());
        assertEquals(10, result.getMaxOffset());
    }

    @Test
    void a_pull_returns_no_more_than_the_broker_allows_at_once() throws Exception {
        MessageQueue queue = filled(50);
        PullResult result = puller().pull(queue, "*", 0, 1_000);
        assertEquals(32, result.getMsgFoundList().size());
        assertEquals(32, result.getNextBeginOffset());
    }

    @Test
    void at_the_end_of_a_queue_there_is_no_new_message() throws Exception {
        MessageQueue queue = filled(3);
        PullResult result = puller().pull(queue, "*", 3, 32);
        assertEquals(PullStatus.NO_NEW_MSG, result.getPullStatus());
        assertEquals(3, result.getNextBeginOffset());
    }

    @Test
    void beyond_the_end_the_offset_is_illegal_and_corrected() throws Exception {
        MessageQueue queue = filled(3);
        PullResult result = puller().pull(queue, "*", 100, 32);
        assertEquals(PullStatus.OFFSET_ILLEGAL, result.getPullStatus());
        assertEquals(3, result.getNextBeginOffset());
    }

    @Test
    void an_empty_queue_has_nothing_at_its_start_and_corrects_any_other_offset() throws Exception {
        MessageQueue queue = queue(Cluster.topic(1), 0);
        DefaultMQPullConsumer consumer = puller();
        assertEquals(PullStatus.NO_NEW_MSG, consumer.pull(queue, "*", 0, 32).getPullStatus());
        PullResult result = consumer.pull(queue, "*", 5, 32);
        assertEquals(PullStatus.OFFSET_ILLEGAL, result.getPullStatus());
        assertEquals(0, result.getNextBeginOffset());
    }

    @Test
    void where_no_tag_matches_the_pull_goes_on_behind() throws Exception {
        MessageQueue queue = filled(5);
        PullResult result = puller().pull(queue, "nobody", 0, 32);
        assertEquals(PullStatus.NO_MATCHED_MSG, result.getPullStatus());
        assertEquals(5, result.getNextBeginOffset());
    }

    @Test
    void a_blocking_pull_is_woken_by_the_next_message() throws Exception {
        MessageQueue queue = filled(1);
        DefaultMQPullConsumer consumer = puller();
        CompletableFuture<PullResult> waiting = CompletableFuture.supplyAsync(() -> {
            try {
                return consumer.pullBlockIfNotFound(queue, "*", 1, 32);
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        DefaultMQProducer producer = producer();
        Thread.sleep(500);
        assertTrue(!waiting.isDone(), "held");
        producer.send(message(queue.getTopic(), "awaited"), queue);
        PullResult result = waiting.get(1_500, TimeUnit.MILLISECONDS);
        assertEquals(List.of("awaited"), Inbox.bodies(result.getMsgFoundList()));
    }

    @Test
    void a_committed_offset_is_known_to_the_whole_group() throws Exception {
        MessageQueue queue = filled(10);
        String group = Cluster.unique("group");
        DefaultMQPullConsumer one = puller(group);
        one.pull(queue, "*", 0, 1); // creates the group
        one.getOffsetStore().updateConsumeOffsetToBroker(queue, 6, false);
        DefaultMQPullConsumer other = puller(group);
        assertEquals(6, other.fetchConsumeOffset(queue, true));
        one.getOffsetStore().updateConsumeOffsetToBroker(queue, 2, false); // a group may go back
        assertEquals(2, other.fetchConsumeOffset(queue, true));
    }

    @Test
    void offsets_are_found_by_time() throws Exception {
        MessageQueue queue = queue(Cluster.topic(1), 0);
        DefaultMQProducer producer = producer();
        sendMany(producer, queue, "early", 3);
        Thread.sleep(50);
        long middle = System.currentTimeMillis();
        Thread.sleep(50);
        sendMany(producer, queue, "late", 3);
        DefaultMQPullConsumer consumer = puller();
        Await.until("the consume queue", () -> consumer.maxOffset(queue) == 6);
        assertEquals(0, consumer.minOffset(queue));
        assertEquals(0, consumer.searchOffset(queue, middle - 3_600_000));
        assertEquals(3, consumer.searchOffset(queue, middle));
        assertEquals(6, consumer.searchOffset(queue, System.currentTimeMillis() + 3_600_000));
        MessageExt first = consumer.pull(queue, "*", 0, 1).getMsgFoundList().get(0);
        assertEquals(first.getStoreTimestamp(), consumer.earliestMsgStoreTime(queue));
    }

    @Test
    void a_lite_consumer_polls_what_it_subscribed_to() throws Exception {
        String topic = Cluster.topic(4);
        DefaultLitePullConsumer consumer = lite(Cluster.unique("group"));
        consumer.subscribe(topic, "A");
        consumer.start();
        DefaultMQProducer producer = producer();
        producer.send(message(topic, "A", "wanted"));
        producer.send(message(topic, "B", "unwanted"));
        producer.send(message(topic, "A", "wanted too"));
        Inbox inbox = new Inbox();
        Await.until("both messages", () -> poll(consumer, inbox) >= 2);
        inbox.awaitExactly("wanted", "wanted too");
    }

    @Test
    void a_lite_consumer_polls_the_tags_it_subscribed_to() throws Exception {
        String topic = Cluster.topic(2);
        DefaultMQProducer producer = producer();
        for (String tag : List.of("A", "B", "C", "A", "B")) {
            producer.send(message(topic, tag, "of " + tag));
        }
        DefaultLitePullConsumer consumer = lite(Cluster.unique("group"));
        consumer.subscribe(topic, "A || C");
        consumer.start();
        Inbox inbox = new Inbox();
        Await.until("three", () -> poll(consumer, inbox) >= 3);
        inbox.awaitExactly("of A", "of A", "of C");
    }

    @Test
    void a_lite_consumer_seeks_in_the_queue_assigned_to_it() throws Exception {
        MessageQueue queue = filled(10);
        DefaultLitePullConsumer consumer = lite(Cluster.unique("group"));
        consumer.start();
        consumer.assign(List.of(queue));
        consumer.seek(queue, 7);
        Inbox tail = new Inbox();
        Await.until("the last three", () -> poll(consumer, tail) >= 3);
        tail.awaitExactly("message 7", "message 8", "message 9");
        consumer.seekToBegin(queue);
        Inbox all = new Inbox();
        Await.until("all ten", () -> poll(consumer, all) >= 10);
        consumer.seekToEnd(queue);
        producer().send(message(queue.getTopic(), "new"), queue);
        Inbox fresh = new Inbox();
        Await.until("the new one", () -> poll(consumer, fresh) >= 1);
        fresh.awaitExactly("new");
        assertEquals(0L, consumer.offsetForTimestamp(queue, System.currentTimeMillis() - 3_600_000));
    }

    @Test
    void a_lite_consumer_commits_and_its_successor_goes_on() throws Exception {
        MessageQueue queue = filled(10);
        String group = Cluster.unique("group");
        DefaultLitePullConsumer consumer = lite(group);
        consumer.setAutoCommit(false);
        consumer.setPullBatchSize(5);
        consumer.subscribe(queue.getTopic(), "*");
        consumer.start();
        Inbox inbox = new Inbox();
        Await.until("the first five", () -> poll(consumer, inbox) >= 5);
        consumer.commit();
        consumer.shutdown();
        assertEquals(5, inbox.size());
        DefaultLitePullConsumer successor = lite(group);
        successor.subscribe(queue.getTopic(), "*");
        successor.start();
        Inbox rest = new Inbox();
        Await.until("the other five", () -> poll(successor, rest) >= 5);
        assertEquals("message 5", rest.bodies().get(0));
        Set<MessageQueue> assigned = new HashSet<>(successor.assignment());
        assertEquals(Set.of(queue), assigned);
    }

    @Test
    void an_offset_never_committed_is_not_found() throws Exception {
        MessageQueue queue = queue(Cluster.topic(1), 0);
        assertEquals(-1, puller().fetchConsumeOffset(queue, true));
        assertNull(Cluster.admin().examineTopicStats(queue.getTopic()).getOffsetTable().get(queue(queue.getTopic(), 1)));
    }

    private MessageQueue filled(int count) throws Exception {
        MessageQueue queue = queue(Cluster.topic(1), 0);
        sendMany(producer(), queue, "message", count);
        DefaultMQPullConsumer consumer = puller();
        Await.until("the consume queue", () -> consumer.maxOffset(queue) == count);
        return queue;
    }

    private static int poll(DefaultLitePullConsumer consumer, Inbox into) {
        into.add(consumer.poll());
        return into.size();
    }
}
