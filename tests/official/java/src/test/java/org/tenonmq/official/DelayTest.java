package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.function.Consumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

/** Delay levels (1 s, 2 s, 1 s, 2 s, 3 s, … by broker.properties) and timers to the second. */
class DelayTest extends Clients {
    @Test
    void a_delayed_message_comes_when_its_level_says() throws Exception {
        arrivesAfter(2_000, message -> message.setDelayTimeLevel(2));
    }

    @Test
    void a_message_with_a_delay_in_seconds_comes_then() throws Exception {
        arrivesAfter(2_000, message -> message.setDelayTimeSec(2));
    }

    @Test
    void a_message_with_a_delay_in_milliseconds_comes_then() throws Exception {
        arrivesAfter(2_500, message -> message.setDelayTimeMs(2_500));
    }

    @Test
    void a_message_with_a_time_of_delivery_comes_then() throws Exception {
        arrivesAfter(3_000, message -> message.setDeliverTimeMs(System.currentTimeMillis() + 3_000));
    }

    @Test
    void delayed_messages_come_in_the_order_of_their_times() throws Exception {
        String topic = Cluster.topic(1);
        DefaultMQProducer producer = producer();
        Inbox inbox = inboxOf(topic);
        for (int level : new int[] {7, 2, 5}) { // 5 s, 2 s, 3 s
            Message message = message(topic, "level " + level);
            message.setDelayTimeLevel(level);
            producer.send(message);
        }
        producer.send(message(topic, "at once"));
        inbox.awaitCount(4);
        assertEquals(List.of("at once", "level 2", "level 5", "level 7"), inbox.bodies());
    }

    @Test
    void a_delayed_message_keeps_what_it_carries() throws Exception {
        String topic = Cluster.topic(2);
        Message sent = message(topic, "tag", "later");
        sent.setKeys("the-key");
        sent.setFlag(3);
        sent.putUserProperty("color", "green");
        sent.setDelayTimeLevel(1);
        SendResult result = producer().send(sent, queue(topic, 1));
        MessageExt got = inboxOf(topic).only();
        assertEquals(1, got.getQueueId());
        assertEquals("tag", got.getTags());
        assertEquals("the-key", got.getKeys());
        assertEquals(3, got.getFlag());
        assertEquals("green", got.getUserProperty("color"));
        assertEquals(result.getMsgId(), got.getMsgId());
    }

    @Test
    void a_timer_beyond_the_limit_is_refused() throws Exception {
        String topic = Cluster.topic(1);
        Message message = message(topic, "next month");
        message.setDelayTimeSec(31L * 24 * 3600);
        MQBrokerException refused = assertThrows(MQBrokerException.class, () -> producer().send(message));
        assertEquals(13, refused.getResponseCode());
    }

    @Test
    void a_recalled_timer_never_comes() throws Exception {
        String topic = Cluster.topic(1);
        DefaultMQProducer producer = producer();
        Inbox inbox = inboxOf(topic);
        Message recalled = message(topic, "recalled");
        recalled.setDelayTimeSec(5);
        Message kept = message(topic, "kept");
        kept.setDelayTimeSec(5);
        SendResult result = producer.send(recalled);
        producer.send(kept);
        assertNotNull(result.getRecallHandle());
        assertEquals(result.getMsgId(), producer.recallMessage(topic, result.getRecallHandle()));
        inbox.awaitExactly("kept");
        Await.stays("recalled", 3_000, () -> inbox.size() == 1);
    }

    @Test
    void a_recall_of_nothing_is_refused() throws Exception {
        String topic = Cluster.topic(1);
        assertThrows(Exception.class, () -> producer().recallMessage(topic, "nonsense"));
    }

    private void arrivesAfter(long millis, Consumer<Message> delay) throws Exception {
        String topic = Cluster.topic(1);
        DefaultMQProducer producer = producer();
        Inbox inbox = inboxOf(topic);
        producer.send(message(topic, "warm up"));
        inbox.awaitCount(1);
        Message message = message(topic, "later");
        long sent = System.currentTimeMillis();
        delay.accept(message);
        assertEquals(SendStatus.SEND_OK, producer.send(message).getSendStatus());
        inbox.awaitCount(2);
        long took = System.currentTimeMillis() - sent;
        assertTrue(took >= millis - 1_000 && took < millis + 3_000, "after " + took + " ms"); // Apache rounds to seconds
    }
}
