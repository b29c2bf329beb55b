package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.Properties;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.body.CMResult;
import org.apache.rocketmq.remoting.protocol.body.ConsumerRunningInfo;
import org.apache.rocketmq.remoting.protocol.body.QueueTimeSpan;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.junit.jupiter.api.Test;

/** What operators do less often: offsets, configuration, questions to consumers. */
class OperatorTest extends Clients {
    private final DefaultMQAdminExt admin = Cluster.admin();

    @Test
    void offsets_are_reset_to_a_time_while_the_group_is_away() throws Exception {
        MessageQueue queue = queue(Cluster.topic(1), 0);
        String group = Cluster.unique("group");
        DefaultMQProducer producer = producer();
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = consume(group, queue.getTopic(), "*", inbox);
        sendMany(producer, queue, "early", 3);
        Thread.sleep(50);
        long middle = System.currentTimeMillis();
        Thread.sleep(50);
        sendMany(producer, queue, "late", 3);
        inbox.awaitCount(6);
        consumer.shutdown();
        assertEquals(Map.of(queue, 3L), admin.resetOffsetByTimestamp(queue.getTopic(), group, middle, true));
        Inbox again = new Inbox();
        consume(group, queue.getTopic(), "*", again);
        again.awaitExactly("late 0", "late 1", "late 2");
    }

    @Test
    void offsets_of_a_group_at_work_are_reset_to_a_time() throws Exception {
        MessageQueue queue = queue(Cluster.topic(1), 0);
        String group = Cluster.unique("group");
        DefaultMQProducer producer = producer();
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = consume(group, queue.getTopic(), "*", inbox);
        sendMany(producer, queue, "early", 3);
        Thread.sleep(50);
        long middle = System.currentTimeMillis();
        Thread.sleep(50);
        sendMany(producer, queue, "late", 2);
        inbox.awaitCount(5);
        Await.until("the offset", () -> admin.examineConsumeStats(group, queue.getTopic()).getOffsetTable().get(queue).getConsumerOffset() == 5);
        assertEquals(Map.of(queue, 3L), admin.resetOffsetByTimestamp(queue.getTopic(), group, middle, true));
        Await.until(() -> "the late ones again, so far " + inbox.bodies(), () -> inbox.size() >= 7);
        assertEquals(Set.of("late 0", "late 1"), Set.copyOf(inbox.bodies().subList(5, 7)));
        producer.send(message(queue.getTopic(), "new"), queue);
        Await.until("what follows", () -> inbox.size() >= 8);
        assertEquals("new", inbox.bodies().get(7));
        Await.stays("once", 1_000, () -> inbox.size() == 8);
        Await.until("its offset", () -> admin.examineConsumeStats(group, queue.getTopic()).computeTotalDiff() == 0);
        assertEquals(1, owned(consumer, queue.getTopic()));
    }

    @Test
    void an_offset_of_one_queue_is_set_at_the_broker() throws Exception {
        MessageQueue queue = queue(Cluster.topic(1), 0);
        String group = Cluster.unique("group");
        sendMany(producer(), queue, "message", 6);
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = consume(group, queue.getTopic(), "*", inbox);
        inbox.awaitCount(6);
        consumer.shutdown();
        admin.resetOffsetByQueueId(Cluster.brokerAddress(), group, queue.getTopic(), 0, 4);
        Inbox again = new Inbox();
        consume(group, queue.getTopic(), "*", again);
        again.awaitExactly("message 4", "message 5");
    }

    @Test
    void the_lag_of_every_group_is_told_at_once() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        Inbox inbox = new Inbox();
        consume(group, topic, "*", inbox);
        sendMany(producer(), topic, "message", 3);
        inbox.awaitCount(3);
        Await.until("the group with all done", () -> admin.fetchConsumeStatsInBroker(Cluster.brokerAddress(), false, 10_000)
            .getConsumeStatsList().stream()
            .filter(groups -> groups.containsKey(group))
            .flatMap(groups -> groups.get(group).stream())
            .anyMatch(stats -> stats.getOffsetTable().containsKey(queueOf(topic)) && stats.computeTotalDiff() == 0));
    }

    @Test
    void how_much_a_topic_and_its_group_move_is_told() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        Inbox inbox = new Inbox();
        consume(group, topic, "*", inbox);
        sendMany(producer(), topic, "message", 3);
        inbox.awaitCount(3);
        admin.viewBrokerStatsData(Cluster.brokerAddress(), "TOPIC_PUT_NUMS", topic);
        admin.viewBrokerStatsData(Cluster.brokerAddress(), "GROUP_GET_NUMS", topic + "@" + group);
        MQClientException unknown = assertThrows(MQClientException.class,
            () -> admin.viewBrokerStatsData(Cluster.brokerAddress(), "TOPIC_PUT_NUMS", Cluster.unique("none")));
        assertEquals(1, unknown.getResponseCode());
    }

    @Test
    void offsets_are_copied_to_another_group() throws Exception {
        MessageQueue queue = queue(Cluster.topic(1), 0);
        String from = Cluster.unique("group");
        String to = Cluster.unique("group");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = consume(from, queue.getTopic(), "*", inbox);
        consume(to, queue.getTopic(), "*", new Inbox()).shutdown();
        sendMany(producer(), queue, "message", 4);
        inbox.awaitCount(4);
        consumer.shutdown();
        admin.cloneGroupOffset(from, to, queue.getTopic(), false);
        Await.until("the copied offset", () -> {
            ConsumeStats stats = admin.examineConsumeStats(to, queue.getTopic());
            return stats.getOffsetTable().get(queue).getConsumerOffset() == 4;
        });
    }

    @Test
    void key_value_configuration_is_kept_by_the_name_server() throws Exception {
        String namespace = Cluster.unique("namespace");
        admin.createAndUpdateKvConfig(namespace, "key", "value");
        assertEquals("value", admin.getKVConfig(namespace, "key"));
        assertEquals(Map.of("key", "value"), admin.getKVListByNamespace(namespace).getTable());
        admin.deleteKvConfig(namespace, "key");
        assertThrows(MQClientException.class, () -> admin.getKVConfig(namespace, "key"));
    }

    @Test
    void a_setting_of_a_running_broker_is_changed() throws Exception {
        Properties change = new Properties();
        for (String value : List.of("false", "true")) { // read at the start only, so nobody else is disturbed
            change.setProperty("traceTopicEnable", value);
            admin.updateBrokerConfig(Cluster.brokerAddress(), change);
            assertEquals(value, admin.getBrokerConfig(Cluster.brokerAddress()).get("traceTopicEnable"));
        }
    }

    @Test
    void a_consumer_tells_how_it_runs() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        DefaultMQPushConsumer consumer = consume(group, topic, "*", new Inbox());
        Await.until("its running info", () -> {
            ConsumerRunningInfo info = running(group, consumer.buildMQClientId());
            return info != null && info.getMqTable().containsKey(queue(topic, 0));
        });
        ConsumerRunningInfo info = running(group, consumer.buildMQClientId());
        assertTrue(info.getSubscriptionSet().stream().anyMatch(subscription -> subscription.getTopic().equals(topic)));
    }

    @Test
    void a_message_is_handed_to_a_consumer_directly() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = consume(group, topic, "*", inbox);
        SendResult sent = producer().send(message(topic, "again"));
        inbox.awaitCount(1);
        assertEquals(CMResult.CR_SUCCESS,
            admin.consumeMessageDirectly(group, consumer.buildMQClientId(), topic, sent.getOffsetMsgId()).getConsumeResult());
        inbox.awaitExactly("again", "again");
    }

    @Test
    void the_times_of_a_groups_messages_are_told() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = consume(group, topic, "*", inbox);
        sendMany(producer(), topic, "message", 2);
        inbox.awaitCount(2);
        consumer.shutdown();
        List<QueueTimeSpan> spans = admin.queryConsumeTimeSpan(topic, group);
        assertEquals(1, spans.size());
        assertTrue(spans.get(0).getMinTimeStamp() > 0 && spans.get(0).getMinTimeStamp() <= spans.get(0).getMaxTimeStamp());
    }

    @Test
    void the_topics_of_a_group_are_listed() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        Inbox inbox = new Inbox();
        consume(group, topic, "*", inbox);
        sendMany(producer(), topic, "message", 1);
        inbox.awaitCount(1);
        Await.until("the topic", () -> admin.queryTopicsByConsumer(group).getTopicList().contains(topic));
    }

    @Test
    void the_configuration_of_the_name_server_is_told() throws Exception {
        Map<String, Properties> config = admin.getNameServerConfig(List.of(Cluster.NAMESRV));
        assertEquals(Cluster.NAMESRV.split(":")[1], config.get(Cluster.NAMESRV).get("listenPort"));
    }

    private static MessageQueue queueOf(String topic) {
        try {
            return queue(topic, 0);
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }

    private ConsumerRunningInfo running(String group, String client) throws Exception {
        try {
            return admin.getConsumerRunningInfo(group, client, false);
        } catch (MQClientException notYet) {
            return null;
        }
    }
}
