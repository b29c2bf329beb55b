package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

/** Consume retry and dead letters, with the delay levels of broker.properties: the first retry is level 3, one second. */
class RetryTest extends Clients {
    @Test
    void what_was_consumed_in_vain_comes_again() throws Exception {
        String topic = Cluster.topic(1);
        Refusing listener = new Refusing(2);
        retrying(Cluster.unique("group"), topic, listener);
        Message sent = message(topic, "tag", "difficult");
        sent.setKeys("the-key");
        sent.putUserProperty("color", "green");
        SendResult result = producer().send(sent);
        Await.until("three deliveries", () -> listener.deliveries.size() >= 3);

        for (int i = 0; i < 3; i++) {
            MessageExt delivery = listener.deliveries.get(i);
            assertEquals(i, delivery.getReconsumeTimes());
            assertEquals(topic, delivery.getTopic());
            assertEquals("tag", delivery.getTags());
            assertEquals("the-key", delivery.getKeys());
            assertEquals("green", delivery.getUserProperty("color"));
            assertEquals(result.getMsgId(), delivery.getMsgId());
        }
        assertEquals(result.getOffsetMsgId(), listener.deliveries.get(2).getProperty(MessageConst.PROPERTY_ORIGIN_MESSAGE_ID));
        assertTrue(listener.gap(0) >= 950, "first retry after " + listener.gap(0) + " ms");
        assertTrue(listener.gap(1) >= 1_950, "second retry after " + listener.gap(1) + " ms");
        Await.stays("no fourth delivery", 3_000, () -> listener.deliveries.size() == 3);
    }

    @Test
    void a_listener_that_throws_gets_the_message_again() throws Exception {
        String topic = Cluster.topic(1);
        Refusing listener = new Refusing(1) {
            @Override
            ConsumeConcurrentlyStatus refuse(ConsumeConcurrentlyContext context) {
                throw new IllegalStateException("cannot");
            }
        };
        retrying(Cluster.unique("group"), topic, listener);
        producer().send(message(topic, "difficult"));
        Await.until("two deliveries", () -> listener.deliveries.size() >= 2);
        Await.stays("no third", 2_000, () -> listener.deliveries.size() == 2);
    }

    @Test
    void only_what_was_refused_comes_again() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        Refusing listener = new Refusing(1) {
            @Override
            boolean refuses(MessageExt message) {
                return Inbox.bodies(List.of(message)).get(0).endsWith("7") && super.refuses(message);
            }
        };
        retrying(group, topic, listener);
        sendMany(producer(), topic, "message", 10);
        Await.until("ten deliveries and a retry", () -> listener.deliveries.size() >= 11);
        assertEquals("message 7", Inbox.bodies(listener.deliveries).get(10));
        Await.stays("no more", 2_000, () -> listener.deliveries.size() == 11);
        Await.until("nothing left", () -> Cluster.admin().examineConsumeStats(group).computeTotalDiff() == 0);
    }

    @Test
    void the_consumer_may_choose_the_delay() throws Exception {
        String topic = Cluster.topic(1);
        Refusing listener = new Refusing(1) {
            @Override
            ConsumeConcurrentlyStatus refuse(ConsumeConcurrentlyContext context) {
                context.setDelayLevelWhenNextConsume(5); // three seconds
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
        };
        retrying(Cluster.unique("group"), topic, listener);
        producer().send(message(topic, "difficult"));
        Await.until("two deliveries", () -> listener.deliveries.size() >= 2);
        assertTrue(listener.gap(0) >= 2_950 && listener.gap(0) < 6_000, "after " + listener.gap(0) + " ms");
    }

    @Test
    void after_the_last_retry_a_message_is_a_dead_letter() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        Refusing listener = new Refusing(Integer.MAX_VALUE);
        DefaultMQPushConsumer consumer = consumer(group);
        consumer.setMaxReconsumeTimes(2);
        consumer.subscribe(topic, "*");
        started(consumer, listener);
        Message sent = message(topic, "impossible");
        sent.setKeys("the-key");
        SendResult result = producer().send(sent);
        MessageExt dead = deadLetter(group);
        assertEquals(3, listener.deliveries.size());
        assertEquals(List.of("impossible"), Inbox.bodies(List.of(dead)));
        assertEquals("the-key", dead.getKeys());
        assertEquals(result.getMsgId(), dead.getMsgId());
        assertEquals(topic, dead.getProperty(MessageConst.PROPERTY_RETRY_TOPIC));
        assertEquals(result.getOffsetMsgId(), dead.getProperty(MessageConst.PROPERTY_ORIGIN_MESSAGE_ID));
    }

    @Test
    void a_consumer_may_give_a_message_up_at_once() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        Refusing listener = new Refusing(Integer.MAX_VALUE) {
            @Override
            ConsumeConcurrentlyStatus refuse(ConsumeConcurrentlyContext context) {
                context.setDelayLevelWhenNextConsume(-1);
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
        };
        retrying(group, topic, listener);
        producer().send(message(topic, "hopeless"));
        assertEquals(List.of("hopeless"), Inbox.bodies(List.of(deadLetter(group))));
        assertEquals(1, listener.deliveries.size());
    }

    @Test
    void an_orderly_consumer_gives_up_to_the_dead_letters_and_goes_on() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        List<String> done = new CopyOnWriteArrayList<>();
        MessageListenerOrderly listener = (batch, context) -> {
            String body = Inbox.bodies(batch).get(0);
            if (body.equals("step 1")) {
                return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
            }
            done.add(body);
            return ConsumeOrderlyStatus.SUCCESS;
        };
        DefaultMQPushConsumer consumer = consumer(group);
        consumer.setMaxReconsumeTimes(2);
        consumer.setSuspendCurrentQueueTimeMillis(100);
        consumer.subscribe(topic, "*");
        started(consumer, listener);
        sendMany(producer(), queue(topic, 0), "step", 3);
        Await.until("the other two", () -> done.size() >= 2);
        assertEquals(List.of("step 0", "step 2"), done);
        assertEquals(List.of("step 1"), Inbox.bodies(List.of(deadLetter(group))));
    }

    /** A consumer that has its retry queue as well, which its client looks for every 20 s only. */
    private void retrying(String group, String topic, MessageListenerConcurrently listener) throws Exception {
        DefaultMQPushConsumer consumer = consume(group, topic, "*", listener);
        Await.until("the retry topic", () -> Cluster.routed("%RETRY%" + group));
        Await.until("the retry queue", () -> owned(consumer, "%RETRY%" + group) == 1);
    }

    private MessageExt deadLetter(String group) throws Exception {
        String topic = "%DLQ%" + group;
        Await.until("a dead-letter topic", () -> Cluster.routed(topic));
        DefaultMQPullConsumer reader = puller();
        MessageQueue queue = queue(topic, 0);
        Await.until("a dead letter", () -> reader.pull(queue, "*", 0, 32).getPullStatus() == PullStatus.FOUND);
        PullResult result = reader.pull(queue, "*", 0, 32);
        assertEquals(1, result.getMsgFoundList().size());
        return result.getMsgFoundList().get(0);
    }

    /** Refuses each of its first deliveries, and keeps all with the time they came. */
    private static class Refusing implements MessageListenerConcurrently {
        final List<MessageExt> deliveries = new CopyOnWriteArrayList<>();
        private final List<Long> times = new CopyOnWriteArrayList<>();
        private final int refusals;

        Refusing(int refusals) {
            this.refusals = refusals;
        }

        boolean refuses(MessageExt message) {
            return message.getReconsumeTimes() < refusals;
        }

        ConsumeConcurrentlyStatus refuse(ConsumeConcurrentlyContext context) {
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        }

        long gap(int delivery) {
            return times.get(delivery + 1) - times.get(delivery);
        }

        @Override
        public ConsumeConcurrentlyStatus consumeMessage(List<MessageExt> batch, ConsumeConcurrentlyContext context) {
            MessageExt message = batch.get(0); // batches of one are the default
            times.add(System.currentTimeMillis());
            deliveries.add(message);
            return refuses(message) ? refuse(context) : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        }
    }
}
