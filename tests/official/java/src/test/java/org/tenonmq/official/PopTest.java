package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Pop consumption; its request codes do not fit into binary headers. */
@Tag("json-only")
class PopTest extends Clients {
    @Test
    void popped_messages_are_invisible_to_the_group_and_gone_once_acknowledged() throws Exception {
        String topic = Cluster.topic(1);
        String group = Pop.group();
        sendMany(producer(), queue(topic, 0), "message", 3);
        PopResult first = Pop.pop(topic, group, 2, 5_000, 0);
        assertEquals(List.of("message 0", "message 1"), Inbox.bodies(first.getMsgFoundList()));
        PopResult second = Pop.pop(topic, group, 10, 5_000, 0);
        assertEquals(List.of("message 2"), Inbox.bodies(second.getMsgFoundList()));
        for (PopResult result : List.of(first, second)) {
            for (MessageExt message : result.getMsgFoundList()) {
                assertEquals(AckStatus.OK, Pop.ack(topic, group, message));
            }
        }
        Await.stays("acknowledged", 9_000, () -> Pop.pop(topic, group, 10, 5_000, 0).getPopStatus() != PopStatus.FOUND);
    }

    @Test
    void what_is_not_acknowledged_becomes_visible_again() throws Exception {
        String topic = Cluster.topic(1);
        String group = Pop.group();
        sendMany(producer(), queue(topic, 0), "message", 2);
        PopResult first = Pop.pop(topic, group, 10, 3_000, 0);
        assertEquals(AckStatus.OK, Pop.ack(topic, group, first.getMsgFoundList().get(0)));
        PopResult again = Pop.popUntilFound(topic, group);
        MessageExt message = again.getMsgFoundList().get(0);
        assertEquals(List.of("message 1"), Inbox.bodies(again.getMsgFoundList()));
        assertEquals(1, message.getReconsumeTimes());
        assertTrue(again.getPopTime() - first.getPopTime() >= 2_900, "visible after " + (again.getPopTime() - first.getPopTime()));
        assertEquals(AckStatus.OK, Pop.ack(topic, group, message));
    }

    @Test
    void invisibility_can_be_cut_short() throws Exception {
        String topic = Cluster.topic(1);
        String group = Pop.group();
        producer().send(message(topic, "returned"));
        MessageExt message = Pop.pop(topic, group, 10, 60_000, 0).getMsgFoundList().get(0);
        assertEquals(AckStatus.OK, Pop.changeInvisible(topic, group, message, 1_000));
        assertEquals(List.of("returned"), Inbox.bodies(Pop.popUntilFound(topic, group).getMsgFoundList()));
    }

    @Test
    void a_waiting_pop_is_woken_at_once() throws Exception {
        String topic = Cluster.topic(1);
        String group = Pop.group();
        CompletableFuture<PopResult> waiting = CompletableFuture.supplyAsync(() -> {
            try {
                return Pop.pop(topic, group, 10, 10_000, 10_000);
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        Thread.sleep(1_000);
        assertTrue(!waiting.isDone(), "held");
        producer().send(message(topic, "awaited"));
        assertEquals(List.of("awaited"), Inbox.bodies(waiting.get(1_500, TimeUnit.MILLISECONDS).getMsgFoundList()));
    }

    @Test
    void a_push_consumer_may_pop() throws Exception {
        String topic = Cluster.topic(4);
        String group = Pop.group();
        Cluster.admin().setMessageRequestMode(Cluster.brokerAddress(), topic, group, MessageRequestMode.POP, 8, 3_000);
        List<String> sent = sendMany(producer(), topic, "message", 40);
        Inbox inbox = new Inbox();
        popping(topic, group, inbox);
        inbox.awaitExactly(sent);
        Await.stays("once", 3_000, () -> inbox.size() == 40);
    }

    @Test
    @Timeout(100) // the client's shortest delay is 30 s, and Apache's revival and long polling add to it
    void what_a_popping_consumer_refuses_comes_again() throws Exception {
        String topic = Cluster.topic(1);
        String group = Pop.group();
        Cluster.admin().setMessageRequestMode(Cluster.brokerAddress(), topic, group, MessageRequestMode.POP, 8, 3_000);
        AtomicInteger deliveries = new AtomicInteger();
        popping(topic, group, (MessageListenerConcurrently) (batch, context) -> {
            context.setDelayLevelWhenNextConsume(1);
            return deliveries.incrementAndGet() == 1 ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        producer().send(message(topic, "difficult"));
        Await.within(90_000, () -> "two deliveries, so far " + deliveries, () -> deliveries.get() >= 2);
    }

    private void popping(String topic, String group, MessageListenerConcurrently listener) throws Exception {
        DefaultMQPushConsumer consumer = consumer(group);
        consumer.setClientRebalance(false);
        consumer.subscribe(topic, "*");
        started(consumer, listener);
    }
}
