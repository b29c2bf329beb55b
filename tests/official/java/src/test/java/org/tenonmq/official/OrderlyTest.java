package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.body.LockBatchRequestBody;
import org.apache.rocketmq.remoting.protocol.body.UnlockBatchRequestBody;
import org.junit.jupiter.api.Test;

class OrderlyTest extends Clients {
    @Test
    void each_queue_is_consumed_in_the_order_of_sending() throws Exception {
        String topic = Cluster.topic(4);
        Ordered listener = new Ordered();
        consume(Cluster.unique("group"), topic, "*", listener);
        Map<Integer, List<String>> sent = sendToAllQueues(topic, "step", 25);
        Await.until("100 messages", () -> listener.count() >= 100);
        assertEquals(sent, listener.byQueue());
        assertEquals(0, listener.overlaps.get());
    }

    @Test
    void a_suspended_queue_gives_the_same_message_again_before_the_next() throws Exception {
        String topic = Cluster.topic(1);
        AtomicInteger refusals = new AtomicInteger();
        Ordered listener = new Ordered() {
            @Override
            boolean refuses(MessageExt message) {
                return Inbox.bodies(List.of(message)).get(0).equals("step 1") && refusals.incrementAndGet() <= 2;
            }
        };
        DefaultMQPushConsumer consumer = consumer(Cluster.unique("group"));
        consumer.setSuspendCurrentQueueTimeMillis(100);
        consumer.subscribe(topic, "*");
        started(consumer, listener);
        sendMany(producer(), queue(topic, 0), "step", 4);
        Await.until("all messages", () -> listener.count() >= 4);
        assertEquals(List.of("step 0", "step 1", "step 2", "step 3"), listener.byQueue().get(0));
        assertEquals(3, refusals.get());
    }

    @Test
    void order_survives_a_second_member_and_its_leaving() throws Exception {
        String topic = Cluster.topic(4);
        String group = Cluster.unique("group");
        Ordered first = new Ordered();
        consume(group, topic, "*", first);
        Map<Integer, List<String>> sent = sendToAllQueues(topic, "one", 5);
        Await.until("the first 20", () -> first.count() >= 20);
        Ordered second = new Ordered();
        DefaultMQPushConsumer leaves = consume(group, topic, "*", second);
        Await.until("locks at the second member", () -> locked(leaves, topic) == 2);
        merge(sent, sendToAllQueues(topic, "two", 5));
        Await.until("20 more", () -> first.count() + second.count() >= 40);
        assertTrue(second.count() >= 10, "the second member had its share: " + second.count());
        leaves.shutdown();
        merge(sent, sendToAllQueues(topic, "three", 5));
        Await.until("the last 20", () -> first.count() + second.count() >= 60);

        Map<Integer, List<String>> got = new HashMap<>();
        for (int queue = 0; queue < 4; queue++) {
            List<String> all = new ArrayList<>();
            all.addAll(ofRound(first.byQueue().get(queue), "one"));
            all.addAll(ofRound(first.byQueue().get(queue), "two"));
            all.addAll(ofRound(second.byQueue().getOrDefault(queue, List.of()), "two"));
            all.addAll(ofRound(first.byQueue().get(queue), "three"));
            got.put(queue, all);
        }
        assertEquals(sent, got);
    }

    @Test
    void a_lock_belongs_to_one_client_until_it_is_released() throws Exception {
        String topic = Cluster.topic(2);
        String group = Cluster.unique("group");
        MessageQueue one = queue(topic, 0);
        MessageQueue other = queue(topic, 1);
        assertEquals(Set.of(one), lock(group, "client-1", one));
        assertEquals(Set.of(other), lock(group, "client-2", one, other));
        assertEquals(Set.of(one), lock(group, "client-1", one, other), "renewed, and no more");
        assertEquals(Set.of(one, other), lock(Cluster.unique("group"), "client-2", one, other), "groups do not meet");
        unlock(group, "client-2", one);
        assertEquals(Set.of(), lock(group, "client-2", one), "only the owner releases");
        unlock(group, "client-1", one);
        assertEquals(Set.of(one), lock(group, "client-2", one));
    }

    private static Set<MessageQueue> lock(String group, String client, MessageQueue... queues) throws Exception {
        LockBatchRequestBody body = new LockBatchRequestBody();
        body.setConsumerGroup(group);
        body.setClientId(client);
        body.setMqSet(new HashSet<>(List.of(queues)));
        return Cluster.api().lockBatchMQ(Cluster.brokerAddress(), body, 5_000);
    }

    private static void unlock(String group, String client, MessageQueue... queues) throws Exception {
        UnlockBatchRequestBody body = new UnlockBatchRequestBody();
        body.setConsumerGroup(group);
        body.setClientId(client);
        body.setMqSet(new HashSet<>(List.of(queues)));
        Cluster.api().unlockBatchMQ(Cluster.brokerAddress(), body, 5_000, false);
    }

    private Map<Integer, List<String>> sendToAllQueues(String topic, String round, int count) throws Exception {
        DefaultMQProducer producer = producer();
        Map<Integer, List<String>> sent = new HashMap<>();
        for (int i = 0; i < count; i++) {
            for (int queue = 0; queue < 4; queue++) {
                producer.send(message(topic, round + " " + i), queue(topic, queue));
                sent.computeIfAbsent(queue, id -> new ArrayList<>()).add(round + " " + i);
            }
        }
        return sent;
    }

    private static void merge(Map<Integer, List<String>> into, Map<Integer, List<String>> more) {
        more.forEach((queue, bodies) -> into.get(queue).addAll(bodies));
    }

    private static List<String> ofRound(List<String> bodies, String round) {
        return bodies.stream().filter(body -> body.startsWith(round + " ")).toList();
    }

    private static long locked(DefaultMQPushConsumer consumer, String topic) {
        return consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().entrySet().stream()
            .filter(entry -> entry.getKey().getTopic().equals(topic) && entry.getValue().isLocked()).count();
    }

    /** Keeps what each queue gave, in order, and counts two threads at work on one queue. */
    private static class Ordered implements MessageListenerOrderly {
        final AtomicInteger overlaps = new AtomicInteger();
        private final List<MessageExt> consumed = new CopyOnWriteArrayList<>();
        private final Set<Integer> busy = new HashSet<>();

        boolean refuses(MessageExt message) {
            return false;
        }

        @Override
        public ConsumeOrderlyStatus consumeMessage(List<MessageExt> batch, ConsumeOrderlyContext context) {
            int queue = context.getMessageQueue().getQueueId();
            synchronized (busy) {
                if (!busy.add(queue)) {
                    overlaps.incrementAndGet();
                }
            }
            try {
                for (MessageExt message : batch) {
                    if (refuses(message)) {
                        return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                    }
                }
                consumed.addAll(batch);
                return ConsumeOrderlyStatus.SUCCESS;
            } finally {
                synchronized (busy) {
                    busy.remove(queue);
                }
            }
        }

        int count() {
            return consumed.size();
        }

        Map<Integer, List<String>> byQueue() {
            Map<Integer, List<String>> bodies = new HashMap<>();
            for (MessageExt message : consumed) {
                bodies.computeIfAbsent(message.getQueueId(), id -> new ArrayList<>())
                    .add(Inbox.bodies(List.of(message)).get(0));
            }
            return bodies;
        }
    }
}
