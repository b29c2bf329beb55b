package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.admin.ConsumeStats;
import org.apache.rocketmq.remoting.protocol.admin.TopicOffset;
import org.apache.rocketmq.remoting.protocol.admin.TopicStatsTable;
import org.apache.rocketmq.remoting.protocol.body.ConsumerConnection;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.apache.rocketmq.remoting.protocol.route.TopicRouteData;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.junit.jupiter.api.Test;

/** The admin client that mqadmin and the dashboard are made of. */
class AdminTest extends Clients {
    private final DefaultMQAdminExt admin = Cluster.admin();

    @Test
    void the_cluster_is_listed_with_its_master() throws Exception {
        assertEquals(Set.of(Cluster.brokerName()), Cluster.info().getClusterAddrTable().get(Cluster.name()));
        assertTrue(Cluster.brokerAddress().startsWith("127.0.0.1:"), Cluster.brokerAddress());
    }

    @Test
    void a_topic_is_created_changed_and_described() throws Exception {
        String topic = Cluster.unique("topic");
        Cluster.create(new TopicConfig(topic, 2, 3, 6));
        TopicConfig created = admin.examineTopicConfig(Cluster.brokerAddress(), topic);
        assertEquals(2, created.getReadQueueNums());
        assertEquals(3, created.getWriteQueueNums());
        assertEquals(6, created.getPerm());

        admin.createAndUpdateTopicConfig(Cluster.brokerAddress(), new TopicConfig(topic, 5, 5, 4));
        Await.until("the changed route", () -> {
            QueueData queues = admin.examineTopicRouteInfo(topic).getQueueDatas().get(0);
            return queues.getReadQueueNums() == 5 && queues.getWriteQueueNums() == 5 && queues.getPerm() == 4;
        });
    }

    @Test
    void a_topic_with_an_illegal_name_is_not_created() throws Exception {
        MQClientException refused = assertThrows(MQClientException.class, () -> admin.createAndUpdateTopicConfig(
            Cluster.brokerAddress(), new TopicConfig("no/such name", 1, 1, 6)));
        assertEquals(ResponseCode.INVALID_PARAMETER, refused.getResponseCode());
    }

    @Test
    void the_route_of_a_topic_names_cluster_broker_and_queues() throws Exception {
        String topic = Cluster.topic(3);
        TopicRouteData route = admin.examineTopicRouteInfo(topic);
        assertEquals(1, route.getBrokerDatas().size());
        assertEquals(Cluster.name(), route.getBrokerDatas().get(0).getCluster());
        assertEquals(Cluster.brokerName(), route.getBrokerDatas().get(0).getBrokerName());
        assertEquals(Map.of(0L, Cluster.brokerAddress()), route.getBrokerDatas().get(0).getBrokerAddrs());
        assertEquals(Cluster.brokerName(), route.getQueueDatas().get(0).getBrokerName());
        assertEquals(3, route.getQueueDatas().get(0).getReadQueueNums());
    }

    @Test
    void a_topic_without_route_is_answered_as_such() {
        MQClientException none = assertThrows(MQClientException.class, () -> admin.examineTopicRouteInfo(Cluster.unique("none")));
        assertEquals(ResponseCode.TOPIC_NOT_EXIST, none.getResponseCode());
    }

    @Test
    void a_deleted_topic_is_gone_everywhere() throws Exception {
        String topic = Cluster.topic(1);
        sendMany(producer(), topic, "doomed", 3);
        assertTrue(admin.fetchAllTopicList().getTopicList().contains(topic));
        admin.deleteTopicInBroker(Set.of(Cluster.brokerAddress()), topic);
        admin.deleteTopicInNameServer(Set.of(Cluster.NAMESRV), Cluster.name(), topic);
        Await.until("no route", () -> !Cluster.routed(topic));
        assertFalse(admin.fetchAllTopicList().getTopicList().contains(topic));
        assertFalse(admin.getAllTopicConfig(Cluster.brokerAddress(), 5_000).getTopicConfigTable().containsKey(topic));

        Cluster.create(new TopicConfig(topic, 1, 1, 6));
        TopicOffset offset = admin.examineTopicStats(topic).getOffsetTable().get(queue(topic, 0));
        assertEquals(0, offset.getMaxOffset(), "a topic of the same name starts anew");
    }

    @Test
    void the_status_of_a_topic_shows_the_offsets_of_each_queue() throws Exception {
        String topic = Cluster.topic(2);
        long before = System.currentTimeMillis() - 60_000;
        sendMany(producer(), queue(topic, 1), "message", 5);
        Await.until("the offsets", () -> {
            TopicStatsTable stats = admin.examineTopicStats(topic);
            return stats.getOffsetTable().get(queue(topic, 1)).getMaxOffset() == 5;
        });
        TopicStatsTable stats = admin.examineTopicStats(topic);
        assertEquals(Set.of(queue(topic, 0), queue(topic, 1)), stats.getOffsetTable().keySet());
        assertEquals(0, stats.getOffsetTable().get(queue(topic, 0)).getMaxOffset());
        TopicOffset offset = stats.getOffsetTable().get(queue(topic, 1));
        assertEquals(0, offset.getMinOffset());
        assertTrue(offset.getLastUpdateTimestamp() > before);
    }

    @Test
    void a_subscription_group_is_created_described_and_deleted() throws Exception {
        String group = Cluster.unique("group");
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        config.setRetryMaxTimes(3);
        config.setRetryQueueNums(2);
        config.setConsumeBroadcastEnable(false);
        admin.createAndUpdateSubscriptionGroupConfig(Cluster.brokerAddress(), config);
        SubscriptionGroupConfig got = admin.examineSubscriptionGroupConfig(Cluster.brokerAddress(), group);
        assertEquals(group, got.getGroupName());
        assertEquals(3, got.getRetryMaxTimes());
        assertEquals(2, got.getRetryQueueNums());
        assertFalse(got.isConsumeBroadcastEnable());
        assertTrue(got.isConsumeEnable());
        assertTrue(admin.getAllSubscriptionGroup(Cluster.brokerAddress(), 5_000).getSubscriptionGroupTable().containsKey(group));

        admin.deleteSubscriptionGroup(Cluster.brokerAddress(), group, true);
        assertFalse(admin.getAllSubscriptionGroup(Cluster.brokerAddress(), 5_000).getSubscriptionGroupTable().containsKey(group));
    }

    @Test
    void consumer_progress_shows_what_is_done_and_what_is_left() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        DefaultMQProducer producer = producer();
        Inbox inbox = new Inbox();
        DefaultMQPushConsumer consumer = consume(group, topic, "*", inbox);
        inbox.awaitExactly(sendMany(producer, topic, "done", 7));
        consumer.shutdown();
        sendMany(producer, topic, "left", 3);
        MessageQueue queue = queue(topic, 0);
        Await.until("a lag of three", () -> {
            ConsumeStats stats = admin.examineConsumeStats(group);
            return stats.getOffsetTable().containsKey(queue) && stats.computeTotalDiff() == 3;
        });
        ConsumeStats stats = admin.examineConsumeStats(group);
        assertEquals(7, stats.getOffsetTable().get(queue).getConsumerOffset());
        assertEquals(10, stats.getOffsetTable().get(queue).getBrokerOffset());
    }

    @Test
    void an_online_consumer_is_described() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        DefaultMQPushConsumer consumer = consume(group, topic, "A || B", new Inbox());
        Await.until("the connection", () -> connections(group) == 1);
        ConsumerConnection connection = admin.examineConsumerConnectionInfo(group);
        assertEquals(consumer.buildMQClientId(), connection.getConnectionSet().iterator().next().getClientId());
        assertEquals("A || B", connection.getSubscriptionTable().get(topic).getSubString());
        assertEquals(Set.of("A", "B"), connection.getSubscriptionTable().get(topic).getTagsSet());
        assertTrue(connection.getSubscriptionTable().containsKey("%RETRY%" + group));
        consumer.shutdown();
        Await.until("its end", () -> connections(group) == 0);
    }

    @Test
    void an_online_producer_is_described() throws Exception {
        String topic = Cluster.topic(1);
        DefaultMQProducer producer = producer();
        producer.send(message(topic, "hello"));
        Await.until("the connection", () -> {
            try {
                return admin.examineProducerConnectionInfo(producer.getProducerGroup(), topic).getConnectionSet().stream()
                    .anyMatch(connection -> connection.getClientId().equals(producer.buildMQClientId()));
            } catch (MQBrokerException | MQClientException notYet) {
                return false;
            }
        });
    }

    @Test
    void the_runtime_of_a_broker_is_told() throws Exception {
        Map<String, String> table = admin.fetchBrokerRuntimeStats(Cluster.brokerAddress()).getTable();
        for (String key : List.of("bootTimestamp", "brokerVersion", "brokerVersionDesc", "commitLogMaxOffset", "commitLogMinOffset",
            "putTps", "getTransferredTps", "msgPutTotalTodayNow", "runtime", "sendThreadPoolQueueSize", "pullThreadPoolQueueSize")) {
            assertTrue(table.containsKey(key), key);
        }
    }

    @Test
    void the_configuration_of_a_broker_is_told_in_its_own_keys() throws Exception {
        Map<Object, Object> config = admin.getBrokerConfig(Cluster.brokerAddress());
        assertEquals(Cluster.brokerName(), config.get("brokerName"));
        assertEquals("2000", config.get("transactionTimeOut"));
        assertEquals("5", config.get("transactionCheckMax"));
        assertEquals("true", config.get("autoCreateTopicEnable"));
    }

    @Test
    void the_groups_that_consume_a_topic_are_listed() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        Inbox inbox = new Inbox();
        consume(group, topic, "*", inbox);
        inbox.awaitExactly(sendMany(producer(), topic, "message", 1));
        Await.until("the group", () -> admin.queryTopicConsumeByWho(topic).getGroupList().contains(group));
    }

    private int connections(String group) throws Exception {
        try {
            return admin.examineConsumerConnectionInfo(group).getConnectionSet().size();
        } catch (MQBrokerException | MQClientException offline) {
            return 0;
        }
    }
}
