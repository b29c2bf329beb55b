package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.AckCallback;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ChangeInvisibleTimeRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Pop consumption; its request codes do not fit into binary headers. */
@Tag("later")
@Tag("json-only")
class PopTest extends Clients {
    @Test
    void popped_messages_are_invisible_to_the_group_and_gone_once_acknowledged() throws Exception {
        String topic = Cluster.topic(1);
        String group = group();
        sendMany(producer(), queue(topic, 0), "message", 3);
        PopResult first = pop(topic, group, 2, 5_000, 0);
        assertEquals(List.of("message 0", "message 1"), Inbox.bodies(first.getMsgFoundList()));
        PopResult second = pop(topic, group, 10, 5_000, 0);
        assertEquals(List.of("message 2"), Inbox.bodies(second.getMsgFoundList()));
        for (PopResult result : List.of(first, second)) {
            for (MessageExt message : result.getMsgFoundList()) {
                assertEquals(AckStatus.OK, ack(topic, group, message));
            }
        }
        Await.stays("acknowledged", 9_000, () -> pop(topic, group, 10, 5_000, 0).getPopStatus() != PopStatus.FOUND);
    }

    @Test
    void what_is_not_acknowledged_becomes_visible_again() throws Exception {
        String topic = Cluster.topic(1);
        String group = group();
        sendMany(producer(), queue(topic, 0), "message", 2);
        PopResult first = pop(topic, group, 10, 3_000, 0);
        assertEquals(AckStatus.OK, ack(topic, group, first.getMsgFoundList().get(0)));
        PopResult again = popUntilFound(topic, group);
        MessageExt message = again.getMsgFoundList().get(0);
        assertEquals(List.of("message 1"), Inbox.bodies(again.getMsgFoundList()));
        assertEquals(1, message.getReconsumeTimes());
        assertTrue(again.getPopTime() - first.getPopTime() >= 2_900, "visible after " + (again.getPopTime() - first.getPopTime()));
        assertEquals(AckStatus.OK, ack(topic, group, message));
    }

    @Test
    void invisibility_can_be_cut_short() throws Exception {
        String topic = Cluster.topic(1);
        String group = group();
        producer().send(message(topic, "returned"));
        MessageExt message = pop(topic, group, 10, 60_000, 0).getMsgFoundList().get(0);
        assertEquals(AckStatus.OK, changeInvisible(topic, group, message, 1_000));
        assertEquals(List.of("returned"), Inbox.bodies(popUntilFound(topic, group).getMsgFoundList()));
    }

    @Test
    void a_waiting_pop_is_woken_at_once() throws Exception {
        String topic = Cluster.topic(1);
        String group = group();
        CompletableFuture<PopResult> waiting = CompletableFuture.supplyAsync(() -> {
            try {
                return pop(topic, group, 10, 10_000, 10_000);
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
        String group = group();
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
        String group = group();
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

    private static String group() throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(Cluster.unique("group"));
        Cluster.admin().createAndUpdateSubscriptionGroupConfig(Cluster.brokerAddress(), config);
        return config.getGroupName();
    }

    private static PopResult popUntilFound(String topic, String group) throws Exception {
        PopResult[] found = new PopResult[1];
        Await.until("it visible again", () -> {
            found[0] = pop(topic, group, 10, 30_000, 1_000);
            return found[0].getPopStatus() == PopStatus.FOUND;
        });
        return found[0];
    }

    private static PopResult pop(String topic, String group, int max, long invisible, long poll) throws Exception {
        PopMessageRequestHeader header = new PopMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(-1);
        header.setMaxMsgNums(max);
        header.setInvisibleTime(invisible);
        header.setPollTime(poll);
        header.setBornTime(System.currentTimeMillis());
        header.setInitMode(0);
        header.setExpType("TAG");
        header.setExp("*");
        CompletableFuture<PopResult> done = new CompletableFuture<>();
        Cluster.api().popMessageAsync(Cluster.brokerName(), Cluster.brokerAddress(), header, poll + 10_000, new PopCallback() {
            @Override
            public void onSuccess(PopResult result) {
                done.complete(result);
            }

            @Override
            public void onException(Throwable e) {
                done.completeExceptionally(e);
            }
        });
        return done.get(poll + 15_000, TimeUnit.MILLISECONDS);
    }

    private static AckStatus ack(String topic, String group, MessageExt message) throws Exception {
        String handle = message.getProperty(MessageConst.PROPERTY_POP_CK);
        String[] parts = ExtraInfoUtil.split(handle);
        AckMessageRequestHeader header = new AckMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(ExtraInfoUtil.getRealTopic(parts, topic, group));
        header.setQueueId(ExtraInfoUtil.getQueueId(parts));
        header.setOffset(ExtraInfoUtil.getQueueOffset(parts));
        header.setExtraInfo(handle);
        Answer answer = new Answer();
        Cluster.api().ackMessageAsync(Cluster.brokerAddress(), 10_000, answer, header);
        return answer.get();
    }

    private static AckStatus changeInvisible(String topic, String group, MessageExt message, long invisible) throws Exception {
        String handle = message.getProperty(MessageConst.PROPERTY_POP_CK);
        String[] parts = ExtraInfoUtil.split(handle);
        ChangeInvisibleTimeRequestHeader header = new ChangeInvisibleTimeRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(ExtraInfoUtil.getRealTopic(parts, topic, group));
        header.setQueueId(ExtraInfoUtil.getQueueId(parts));
        header.setOffset(ExtraInfoUtil.getQueueOffset(parts));
        header.setExtraInfo(handle);
        header.setInvisibleTime(invisible);
        Answer answer = new Answer();
        Cluster.api().changeInvisibleTimeAsync(Cluster.brokerName(), Cluster.brokerAddress(), header, 10_000, answer);
        return answer.get();
    }

    private static final class Answer implements AckCallback {
        private final CompletableFuture<AckStatus> done = new CompletableFuture<>();

        AckStatus get() throws Exception {
            return done.get(15, TimeUnit.SECONDS);
        }

        @Override
        public void onSuccess(AckResult result) {
            done.complete(result.getStatus());
        }

        @Override
        public void onException(Throwable e) {
            done.completeExceptionally(e);
        }
    }
}
