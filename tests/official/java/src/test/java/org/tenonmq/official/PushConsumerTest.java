package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.header.PullMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.junit.jupiter.api.Test;

class PushConsumerTest extends Clients {
    /** Members learn from the broker that another came or went; by themselves they look every 20 s. */
    private static final long NOTICE_MS = 8_000;

    @Test
    void every_message_arrives_once() throws Exception {
        String topic = Cluster.topic(4);
        List<String> sent = sendMany(producer(), topic, "message", 100);
        inboxOf(topic).awaitExactly(sent);
    }

    @Test
    void a_topic_sent_to_while_consuming_is_consumed_to_its_end() throws Exception {
        String topic = Cluster.topic(4);
        Inbox inbox = inboxOf(topic);
        inbox.awaitExactly(sendMany(producer(), topic, "live", 300));
    }

    @Test
    void each_group_gets_everything() throws Exception {
        String topic = Cluster.topic(2);
        Inbox one = inboxOf(topic);
        Inbox other = inboxOf(topic);
        List<String> sent = sendMany(producer(), topic, "for all", 10);
        one.awaitExactly(sent);
        other.awaitExactly(sent);
    }

    @Test
    void two_members_share_the_queues_and_the_one_that_stays_takes_all() throws Exception {
        String topic = Cluster.topic(4);
        String group = Cluster.unique("group");
        DefaultMQProducer producer = producer();
        Inbox first = new Inbox();
        Inbox second = new Inbox();
        DefaultMQPushConsumer stays = consume(group, topic, "*", first);
        Await.until("all queues at the first member", () -> owned(stays, topic) == 4);
        DefaultMQPushConsumer leaves = consume(group, topic, "*", second);
        Await.within(NOTICE_MS, () -> "two queues each", () -> owned(stays, topic) == 2 && owned(leaves, topic) == 2);

        List<String> sent = sendMany(producer, topic, "shared", 40);
        Await.until("the 40 messages", () -> first.size() + second.size() >= 40);
        assertEquals(20, first.size());
        assertEquals(20, second.size());

        leaves.shutdown();
        Await.within(NOTICE_MS, () -> "all queues at the member that stays", () -> owned(stays, topic) == 4);
        sent.addAll(sendMany(producer, topic, "later", 8));
        Inbox all = new Inbox();
        Await.until("the 8 messages", () -> first.size() + second.size() >= 48);
        all.add(first.messages());
        all.add(second.messages());
        all.awaitExactly(sent);
    }

    @Test
    void a_tag_filter_lets_through_its_tags_only() throws Exception {
        String topic = Cluster.topic(2);
        DefaultMQProducer producer = producer();
        List<String> wanted = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            producer.send(message(topic, "A", "a " + i));
            producer.send(message(topic, "B", "b " + i));
            producer.send(message(topic, "C", "c " + i));
            producer.send(message(topic, "untagged " + i));
            wanted.add("a " + i);
            wanted.add("c " + i);
        }
        String group = Cluster.unique("group");
        Inbox inbox = new Inbox();
        consume(group, topic, "A || C", inbox);
        inbox.awaitExactly(wanted);
        Await.until("an offset beyond what was filtered out",
            () -> Cluster.admin().examineConsumeStats(group, topic).computeTotalDiff() == 0);
    }

    @Test
    void tags_of_equal_hash_are_told_apart() throws Exception {
        String topic = Cluster.topic(1);
        assertEquals("Aa".hashCode(), "BB".hashCode());
        DefaultMQProducer producer = producer();
        producer.send(message(topic, "Aa", "wanted"));
        producer.send(message(topic, "BB", "unwanted"));
        producer.send(message(topic, "Aa", "wanted too"));
        Inbox inbox = new Inbox();
        consume(Cluster.unique("group"), topic, "Aa", inbox);
        inbox.awaitExactly("wanted", "wanted too");
    }

    @Test
    void in_broadcast_every_member_gets_everything() throws Exception {
        String topic = Cluster.topic(2);
        String group = Cluster.unique("group");
        Inbox[] members = {new Inbox(), new Inbox()};
        for (Inbox inbox : members) {
            DefaultMQPushConsumer consumer = consumer(group);
            consumer.setMessageModel(MessageModel.BROADCASTING);
            consumer.subscribe(topic, "*");
            started(consumer, inbox);
            Await.until("all queues", () -> owned(consumer, topic) == 2);
        }
        List<String> sent = sendMany(producer(), topic, "to everyone", 10);
        for (Inbox inbox : members) {
            inbox.awaitExactly(sent);
        }
    }

    @Test
    void a_broadcast_member_goes_on_where_it_stopped() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        String instance = Cluster.unique("member");
        DefaultMQProducer producer = producer();
        for (String round : List.of("first", "second")) {
            List<String> sent = sendMany(producer, topic, round, 5);
            DefaultMQPushConsumer consumer = consumer(group);
            consumer.setInstanceName(instance);
            consumer.setMessageModel(MessageModel.BROADCASTING);
            consumer.subscribe(topic, "*");
            Inbox inbox = new Inbox();
            started(consumer, inbox);
            inbox.awaitExactly(sent);
            consumer.shutdown();
        }
    }

    @Test
    void a_restarted_group_goes_on_where_it_stopped() throws Exception {
        String topic = Cluster.topic(2);
        String group = Cluster.unique("group");
        DefaultMQProducer producer = producer();
        Inbox before = new Inbox();
        DefaultMQPushConsumer consumer = consume(group, topic, "*", before);
        before.awaitExactly(sendMany(producer, topic, "before", 10));
        consumer.shutdown();
        List<String> missed = sendMany(producer, topic, "while away", 10);
        Inbox after = new Inbox();
        consume(group, topic, "*", after);
        after.awaitExactly(missed);
    }

    @Test
    void a_new_group_reads_a_young_topic_from_its_start_even_if_it_asks_for_the_end() throws Exception {
        String topic = Cluster.topic(1);
        List<String> sent = sendMany(producer(), topic, "young", 5);
        DefaultMQPushConsumer consumer = consumer(Cluster.unique("group"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        consumer.subscribe(topic, "*");
        Inbox inbox = new Inbox();
        started(consumer, inbox);
        inbox.awaitExactly(sent);
    }

    @Test
    void a_waiting_consumer_is_woken_at_once() throws Exception {
        String topic = Cluster.topic(1);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = consume(Cluster.unique("group"), topic, "*", inbox);
        Await.until("its queue", () -> owned(consumer, topic) == 1);
        DefaultMQProducer producer = producer();
        long slowest = 0;
        for (int i = 1; i <= 5; i++) {
            Thread.sleep(300); // the consumer's pull is held by now
            long sent = System.nanoTime();
            producer.send(message(topic, "wake up"));
            inbox.awaitCount(i);
            slowest = Math.max(slowest, System.nanoTime() - sent);
        }
        assertTrue(slowest < 1_500_000_000L, "slowest wake-up took " + slowest / 1_000_000 + " ms");
    }

    @Test
    void a_held_pull_is_answered_when_its_time_is_over() throws Exception {
        String topic = Cluster.topic(1);
        producer().send(message(topic, "already read"));
        String group = Cluster.unique("group");
        DefaultMQPushConsumer member = consume(group, topic, "*", new Inbox());
        Await.until("membership", () -> owned(member, topic) == 1);
        PullMessageRequestHeader header = new PullMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(0);
        header.setQueueOffset(1L);
        header.setMaxMsgNums(32);
        header.setSysFlag(2); // may be held
        header.setCommitOffset(0L);
        header.setSuspendTimeoutMillis(1_000L);
        header.setSubVersion(0L);
        long asked = System.nanoTime();
        assertEquals(ResponseCode.PULL_NOT_FOUND, Cluster.ask(RequestCode.PULL_MESSAGE, header, null).getCode());
        long held = (System.nanoTime() - asked) / 1_000_000;
        assertTrue(held >= 900 && held < 8_000, "held for " + held + " ms"); // Apache looks every five seconds
    }

    @Test
    void a_message_carries_what_the_broker_knows_of_its_queue() throws Exception {
        String topic = Cluster.topic(1);
        sendMany(producer(), topic, "of three", 3);
        Inbox inbox = inboxOf(topic);
        inbox.awaitCount(3);
        for (MessageExt message : inbox.messages()) {
            assertEquals("0", message.getProperty("MIN_OFFSET"));
            assertTrue(Long.parseLong(message.getProperty("MAX_OFFSET")) >= 1);
            assertEquals(Cluster.brokerName(), message.getBrokerName());
        }
    }
}
