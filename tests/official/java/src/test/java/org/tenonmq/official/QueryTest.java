package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

class QueryTest extends Clients {
    @Test
    void a_message_is_found_by_its_offset_id() throws Exception {
        String topic = Cluster.topic(1);
        SendResult sent = producer().send(message(topic, "by offset"));
        MessageExt found = Cluster.admin().viewMessage(topic, sent.getOffsetMsgId());
        assertEquals(List.of("by offset"), Inbox.bodies(List.of(found)));
        assertEquals(topic, found.getTopic());
        assertEquals(sent.getQueueOffset(), found.getQueueOffset());
    }

    @Test
    void an_offset_id_that_was_never_given_is_an_error() throws Exception {
        String topic = Cluster.topic(1);
        SendResult sent = producer().send(message(topic, "anything"));
        String beyond = sent.getOffsetMsgId().substring(0, 16) + "00000FFFFFFFFFFF";
        assertThrows(MQBrokerException.class,
            () -> Cluster.admin().getDefaultMQAdminExtImpl().getMqClientInstance().getMQAdminImpl().viewMessage(topic, beyond));
    }

    @Test
    void a_message_is_found_by_each_of_its_keys() throws Exception {
        String topic = Cluster.topic(2);
        DefaultMQProducer producer = producer();
        String order = Cluster.unique("order");
        String invoice = Cluster.unique("invoice");
        producer.send(keyed(topic, order + " " + invoice, "both"));
        producer.send(keyed(topic, order, "order only"));
        producer.send(keyed(topic, Cluster.unique("other"), "neither"));
        Await.until("the index", () -> count(topic, order) == 2);
        assertEquals(1, count(topic, invoice));
        assertEquals(List.of("both"), Inbox.bodies(query(topic, invoice, 32, 0, Long.MAX_VALUE)));
    }

    @Test
    void a_query_by_key_respects_count_and_time() throws Exception {
        String topic = Cluster.topic(1);
        DefaultMQProducer producer = producer();
        String key = Cluster.unique("key");
        for (int i = 0; i < 5; i++) {
            producer.send(keyed(topic, key, "early " + i));
        }
        Thread.sleep(1_100); // the index keeps whole seconds
        long middle = System.currentTimeMillis();
        Thread.sleep(1_100);
        producer.send(keyed(topic, key, "late"));
        Await.until("the index", () -> count(topic, key) == 6);
        assertEquals(3, query(topic, key, 3, 0, Long.MAX_VALUE).size());
        assertEquals(List.of("late"), Inbox.bodies(query(topic, key, 32, middle, Long.MAX_VALUE)));
        assertEquals(5, query(topic, key, 32, 0, middle).size());
    }

    @Test
    void a_message_is_found_by_its_unique_key() throws Exception {
        String topic = Cluster.topic(1);
        SendResult sent = producer().send(message(topic, "by unique key"));
        Await.until("the index", () -> {
            try {
                return Cluster.admin().viewMessage(topic, sent.getMsgId()) != null;
            } catch (MQClientException notYet) {
                return false;
            }
        });
        assertEquals(List.of("by unique key"), Inbox.bodies(List.of(Cluster.admin().viewMessage(topic, sent.getMsgId()))));
    }

    @Test
    void each_message_of_a_batch_is_found_by_its_own_keys() throws Exception {
        String topic = Cluster.topic(1);
        String key = Cluster.unique("key");
        SendResult sent = producer().send(List.of(message(topic, "a"), keyed(topic, key, "b")));
        Await.until("the index", () -> count(topic, key) == 1);
        assertEquals(List.of("b"), Inbox.bodies(query(topic, key, 32, 0, Long.MAX_VALUE)));
        String first = sent.getOffsetMsgId().split(",")[0];
        assertEquals(List.of("a"), Inbox.bodies(List.of(Cluster.admin().viewMessage(topic, first))));
    }

    @Test
    void a_key_nobody_used_is_not_found() throws Exception {
        String topic = Cluster.topic(1);
        producer().send(keyed(topic, "used", "something"));
        MQClientException none = assertThrows(MQClientException.class,
            () -> Cluster.admin().queryMessage(topic, Cluster.unique("unused"), 32, 0, Long.MAX_VALUE));
        assertTrue(none.getMessage().contains("query message by key finished, but no message"), none.getMessage());
    }

    static Message keyed(String topic, String keys, String body) {
        Message message = message(topic, body);
        message.setKeys(keys);
        return message;
    }

    private static int count(String topic, String key) throws Exception {
        try {
            return query(topic, key, 32, 0, Long.MAX_VALUE).size();
        } catch (MQClientException notYet) {
            return 0;
        }
    }

    private static List<MessageExt> query(String topic, String key, int max, long begin, long end) throws Exception {
        QueryResult result = Cluster.admin().queryMessage(topic, key, max, begin, end);
        return result.getMessageList();
    }
}
