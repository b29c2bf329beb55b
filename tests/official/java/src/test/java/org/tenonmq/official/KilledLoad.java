package org.tenonmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.header.UpdateConsumerOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/**
 * Everything that official clients do to a broker, all at once, until it is killed. Topics bear the name of the messages' kind.
 * The same clients' second life, at the broker that takes over, is in {@link #goOn}.
 */
final class KilledLoad extends Clients {
    static final int QUEUES = 2;
    static final List<String> TOPICS = List.of("plain", "ordered", "batch", "level", "timer", "transaction", "pop");
    static final String PUSH = "push-group";
    static final String OFFSETS = "offset-group";
    private static final String POP = "pop-group";
    private static final String TRANSACTIONS = "transaction-group";
    private static final int DELIVERIES = 3;
    /** By broker.properties; the longest is the longest time that anything waits. */
    private static final List<Level> LEVELS = List.of(new Level(1, 1_000), new Level(5, 3_000), new Level(7, 5_000), new Level(10, 8_000));
    private static final int LONGEST_MS = 8_000;
    static final int SHARDS = 5;
    /** What becomes of a transaction: committed, rolled back; at once, when the first broker asks, or when the second does. */
    private static final List<String> FATES = List.of("now+", "now-", "late+", "late-", "undecided+", "undecided-");

    private record Level(int number, long delay) {
    }

    /** How often each popped message came from the second broker, and which came before their lease was over. */
    final Map<String, Integer> afterwards = new ConcurrentHashMap<>();
    final Set<String> early = ConcurrentHashMap.newKeySet();
    private final KilledLedger ledger;
    private final Random random;
    private final List<Thread> threads = new ArrayList<>();
    private volatile boolean stopped;
    private volatile boolean second;
    private DefaultMQPushConsumer pushed;

    KilledLoad(KilledLedger ledger, Random random) {
        this.ledger = ledger;
        this.random = random;
    }

    static boolean commits(String transaction) {
        return transaction.endsWith("+");
    }

    /** Fails at every delivery and so goes to the dead letters. */
    static boolean hopeless(String key) {
        return KilledLedger.number(key) % 40 == 7;
    }

    void start() throws Exception {
        for (String topic : TOPICS) {
            Cluster.create(new TopicConfig(topic, QUEUES, QUEUES, 6));
        }
        for (String group : List.of(PUSH, OFFSETS, POP, TRANSACTIONS)) {
            SubscriptionGroupConfig config = new SubscriptionGroupConfig();
            config.setGroupName(group);
            Cluster.admin().createAndUpdateSubscriptionGroupConfig(Cluster.brokerAddress(), config);
        }
        DefaultMQProducer producer = sender();
        TransactionMQProducer transactions = transactional();
        push();
        goes(8, (number, random) -> plain(producer, number, random, true));
        goes(8, (number, random) -> plain(producer, 1_000_000 + number, random, false));
        goes(8, (number, random) -> ordered(producer, number, random));
        goes(30, (number, random) -> batch(producer, number, random));
        goes(15, (number, random) -> level(producer, number, random));
        goes(15, (number, random) -> timer(producer, number, random));
        goes(15, (number, random) -> transaction(transactions, number, random));
        goes(8, (number, random) -> {
            Message message = made("pop-" + number, random);
            place(message.getKeys(), "pop", producer.send(message), 0);
        });
        goes(40, (number, random) -> pop(random));
    }

    /** Every kind of work has been done, some of it to the end. */
    boolean underWay() {
        Map<String, Integer> kinds = ledger.kinds();
        return TOPICS.stream().allMatch(topic -> kinds.getOrDefault(topic, 0) >= 20) && ledger.popAcknowledged.size() >= 10
            && ledger.leases.size() >= 5 && ledger.consumed.size() >= 50 && !ledger.checks.isEmpty();
    }

    /** Has the push group fall behind what is sent, so that an offset too far on would lose something. */
    void lag() {
        pushed.suspend();
    }

    void stop() throws Exception {
        stopped = true;
        for (Thread thread : threads) {
            thread.join();
        }
        closeAll();
    }

    /** The same groups at the next broker: they answer checks, consume, and take what is popped. */
    void goOn() throws Exception {
        second = true;
        stopped = false;
        threads.clear();
        transactional();
        push();
        goes(5, (number, random) -> popRest());
    }

    private interface Work {
        void once(int number, Random random) throws Exception;
    }

    /** Does it again and again, with pauses up to so many milliseconds. What fails, as it does when the broker dies, is left. */
    private void goes(int pause, Work work) {
        Random own = new Random(random.nextLong());
        Thread thread = new Thread(() -> {
            for (int number = 0; !stopped; number++) {
                try {
                    work.once(number, own);
                    Thread.sleep(own.nextInt(pause));
                } catch (Exception e) {
                    ledger.note("failed: " + e);
                    pause();
                }
            }
        });
        threads.add(thread);
        thread.start();
    }

    private static void pause() {
        try {
            Thread.sleep(50);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private DefaultMQProducer sender() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("producers");
        producer.setRetryTimesWhenSendFailed(0);
        return started(producer);
    }

    private static Message made(String key, Random random) {
        byte[] text = (key + " ").repeat(1 + random.nextInt(100)).getBytes(UTF_8);
        Message message = new Message(KilledLedger.kind(key), "tag" + random.nextInt(3), key, text);
        message.putUserProperty("number", Integer.toString(random.nextInt()));
        return message;
    }

    private void place(String key, String topic, SendResult result, long delay) {
        place(key, topic, result, result.getMsgId(), result.getQueueOffset(), System.currentTimeMillis(), delay);
    }

    private void place(String key, String topic, SendResult result, String id, long offset, long sentAt, long delay) {
        if (result.getSendStatus() == SendStatus.SEND_OK) {
            ledger.sent(key, new KilledLedger.Sent(topic, result.getMessageQueue().getQueueId(), offset, id, sentAt, delay));
        }
    }

    private void plain(DefaultMQProducer producer, int number, Random random, boolean commits) throws Exception {
        Message message = made("plain-" + number, random);
        SendResult result = producer.send(message);
        place(message.getKeys(), "plain", result, 0);
        if (commits) {
            int queue = result.getMessageQueue().getQueueId();
            UpdateConsumerOffsetRequestHeader header = new UpdateConsumerOffsetRequestHeader();
            header.setTopic("plain");
            header.setConsumerGroup(OFFSETS);
            header.setQueueId(queue);
            header.setCommitOffset(result.getQueueOffset());
            ledger.offsetsAsked.put(queue, result.getQueueOffset());
            Cluster.api().updateConsumerOffset(Cluster.brokerAddress(), header, 10_000);
            ledger.offsetsKept.put(queue, result.getQueueOffset());
            ledger.note("offset " + queue + " " + result.getQueueOffset());
        }
    }

    private void ordered(DefaultMQProducer producer, int number, Random random) throws Exception {
        Message message = made("ordered-" + number, random);
        SendResult result = producer.send(message, (queues, m, shard) -> queues.get((int) shard % queues.size()), number % SHARDS);
        place(message.getKeys(), "ordered", result, 0);
    }

    private void batch(DefaultMQProducer producer, int number, Random random) throws Exception {
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            messages.add(made("batch-" + (number * 8 + i), random));
        }
        SendResult result = producer.send(messages);
        for (int i = 0; i < messages.size(); i++) {
            // They are stored with the batch's unique key, which the result does not tell.
            place(messages.get(i).getKeys(), "batch", result, "", result.getQueueOffset() + i, 0, 0);
        }
    }

    private void level(DefaultMQProducer producer, int number, Random random) throws Exception {
        Message message = made("level-" + number, random);
        Level level = LEVELS.get(random.nextInt(LEVELS.size()));
        message.setDelayTimeLevel(level.number);
        long now = System.currentTimeMillis();
        SendResult result = producer.send(message);
        place(message.getKeys(), null, result, result.getMsgId(), -1, now, level.delay);
    }

    private void timer(DefaultMQProducer producer, int number, Random random) throws Exception {
        Message message = made("timer-" + number, random);
        long delay = 1_000 + random.nextInt(LONGEST_MS - 1_000);
        message.setDelayTimeMs(delay);
        long now = System.currentTimeMillis();
        SendResult result = producer.send(message);
        place(message.getKeys(), null, result, result.getMsgId(), -1, now, delay);
    }

    private void transaction(TransactionMQProducer producer, int number, Random random) throws Exception {
        Message message = made("transaction-" + number + "-" + FATES.get(random.nextInt(FATES.size())), random);
        SendResult result = producer.sendMessageInTransaction(message, null);
        place(message.getKeys(), null, result, result.getMsgId(), -1, 0, 0);
    }

    private TransactionMQProducer transactional() throws Exception {
        return transactions(TRANSACTIONS, "transaction", new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return message.getKeys().contains("now") ? fate(message) : LocalTransactionState.UNKNOW;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                ledger.checked(message.getKeys());
                boolean open = message.getKeys().contains("undecided") && !second;
                return open ? LocalTransactionState.UNKNOW : fate(message);
            }

            private LocalTransactionState fate(Message message) {
                return commits(message.getKeys()) ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
            }
        });
    }

    private void push() throws Exception {
        pushed = consumer(PUSH);
        pushed.subscribe("plain", "*");
        pushed.setMaxReconsumeTimes(DELIVERIES - 1);
        started(pushed, (MessageListenerConcurrently) (messages, context) -> {
            String key = messages.get(0).getKeys();
            boolean fails = hopeless(key) || KilledLedger.number(key) % 10 == 3 && messages.get(0).getReconsumeTimes() == 0;
            if (fails) {
                return ConsumeConcurrentlyStatus.RECONSUME_LATER;
            }
            ledger.consumed(key);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
    }

    /** Half of what is popped is acknowledged, some of the rest is to come sooner or later than agreed. */
    private void pop(Random random) throws Exception {
        long invisible = random.nextBoolean() ? 4_000 : LONGEST_MS;
        for (MessageExt message : take(8, invisible)) {
            String key = message.getKeys();
            ledger.popped(key, System.currentTimeMillis() + invisible);
            int dice = random.nextInt(8);
            if (dice < 4) {
                if (Pop.ack("pop", POP, message) == AckStatus.OK) {
                    ledger.popAcknowledged(key);
                }
            } else if (dice == 4 && Pop.changeInvisible("pop", POP, message, 6_000) == AckStatus.OK) {
                ledger.popped(key, System.currentTimeMillis() + 6_000);
            }
        }
    }

    private void popRest() throws Exception {
        for (MessageExt message : take(32, 30_000)) {
            String key = message.getKeys();
            afterwards.merge(key, 1, Integer::sum);
            Long lease = ledger.leases.get(key);
            if (lease != null && System.currentTimeMillis() < lease - 500) {
                early.add(key);
            }
            ledger.note("came " + key);
            Pop.ack("pop", POP, message);
        }
    }

    private List<MessageExt> take(int most, long invisible) throws Exception {
        PopResult popped = Pop.pop("pop", POP, most, invisible, 500);
        return popped.getPopStatus() == PopStatus.FOUND ? popped.getMsgFoundList() : List.of();
    }
}
