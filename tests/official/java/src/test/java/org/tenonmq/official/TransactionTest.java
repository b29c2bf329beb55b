package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.Test;

/** With the settings of broker.properties: first question after 2 s, then every second, five in all. */
class TransactionTest extends Clients {
    private static final LocalTransactionState COMMIT = LocalTransactionState.COMMIT_MESSAGE;
    private static final LocalTransactionState ROLLBACK = LocalTransactionState.ROLLBACK_MESSAGE;
    private static final LocalTransactionState UNKNOWN = LocalTransactionState.UNKNOW;

    @Test
    void a_committed_message_is_seen_and_a_rolled_back_one_is_not() throws Exception {
        String topic = Cluster.topic(2);
        Asked listener = new Asked(body -> body.startsWith("yes") ? COMMIT : ROLLBACK, body -> UNKNOWN);
        TransactionMQProducer producer = transactions(Cluster.unique("orders"), topic, listener);
        Inbox inbox = inboxOf(topic);
        List<String> committed = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            TransactionSendResult yes = producer.sendMessageInTransaction(message(topic, "yes " + i), null);
            TransactionSendResult no = producer.sendMessageInTransaction(message(topic, "no " + i), null);
            assertEquals(SendStatus.SEND_OK, yes.getSendStatus());
            assertEquals(COMMIT, yes.getLocalTransactionState());
            assertEquals(ROLLBACK, no.getLocalTransactionState());
            committed.add("yes " + i);
        }
        inbox.awaitExactly(committed);
        Await.stays("decided and never asked about again", 5_000, () -> listener.asked.isEmpty());
        inbox.awaitExactly(committed);
    }

    @Test
    void a_half_message_is_invisible_until_it_is_committed() throws Exception {
        String topic = Cluster.topic(1);
        MessageQueue queue = queue(topic, 0);
        DefaultMQPullConsumer reader = puller();
        PullStatus[] whileOpen = new PullStatus[1];
        TransactionMQProducer producer = transactions(Cluster.unique("orders"), topic, new Asked(body -> {
            whileOpen[0] = pull(reader, queue).getPullStatus();
            return COMMIT;
        }, body -> UNKNOWN));
        producer.sendMessageInTransaction(message(topic, "order"), null);
        assertEquals(PullStatus.NO_NEW_MSG, whileOpen[0]);
        Await.until("the committed message", () -> pull(reader, queue).getPullStatus() == PullStatus.FOUND);
        PullResult result = pull(reader, queue);
        assertEquals(List.of("order"), Inbox.bodies(result.getMsgFoundList()));
        assertEquals(0, result.getMsgFoundList().get(0).getQueueOffset());
    }

    @Test
    void a_committed_message_is_the_one_that_was_sent() throws Exception {
        String topic = Cluster.topic(4);
        String group = Cluster.unique("orders");
        String key = Cluster.unique("key");
        TransactionMQProducer producer = transactions(group, topic, new Asked(body -> COMMIT, body -> UNKNOWN));
        Message sent = message(topic, "tag", "order");
        sent.setKeys(key);
        sent.setFlag(9);
        sent.putUserProperty("color", "green");
        TransactionSendResult result = producer.sendMessageInTransaction(sent, null);
        Inbox inbox = new Inbox();
        consume(Cluster.unique("group"), topic, "tag", inbox);
        MessageExt got = inbox.only();

        assertNotNull(result.getTransactionId());
        assertEquals(result.getTransactionId(), got.getTransactionId());
        assertEquals(result.getMessageQueue().getQueueId(), got.getQueueId());
        assertEquals(topic, got.getTopic());
        assertEquals("tag", got.getTags());
        assertEquals(key, got.getKeys());
        assertEquals(9, got.getFlag());
        assertEquals("green", got.getUserProperty("color"));
        assertEquals(group, got.getProperty(MessageConst.PROPERTY_PRODUCER_GROUP));
        assertEquals("true", got.getProperty(MessageConst.PROPERTY_TRANSACTION_PREPARED));
        assertTrue(got.getPreparedTransactionOffset() > 0 || result.getQueueOffset() == 0, "where the half message lies");
        Await.until("the index", () -> {
            try {
                return Cluster.admin().queryMessage(topic, key, 32, 0, Long.MAX_VALUE).getMessageList().size() == 1;
            } catch (Exception notYet) {
                return false;
            }
        });
    }

    @Test
    void an_unknown_transaction_is_asked_about_and_then_committed() throws Exception {
        String topic = Cluster.topic(1);
        Asked listener = new Asked(body -> UNKNOWN, body -> COMMIT);
        long before = System.currentTimeMillis();
        TransactionSendResult sent = transactions(Cluster.unique("orders"), topic, listener)
            .sendMessageInTransaction(message(topic, "slow order"), null);
        inboxOf(topic).awaitExactly("slow order");
        long waited = listener.firstAsked - before;
        assertTrue(waited >= 1_900, "too young to be asked about after " + waited + " ms");

        MessageExt question = listener.asked.get(0);
        assertEquals(topic, question.getTopic());
        assertEquals(sent.getTransactionId(), question.getTransactionId());
        assertEquals(List.of("slow order"), Inbox.bodies(List.of(question)));
        Await.stays("no second question", 4_000, () -> listener.asked.size() == 1);
    }

    @Test
    void an_unknown_transaction_is_asked_about_and_then_rolled_back() throws Exception {
        String topic = Cluster.topic(1);
        Asked listener = new Asked(body -> UNKNOWN, body -> ROLLBACK);
        transactions(Cluster.unique("orders"), topic, listener).sendMessageInTransaction(message(topic, "failed order"), null);
        Inbox inbox = inboxOf(topic);
        Await.until("the question", () -> !listener.asked.isEmpty());
        Await.stays("rolled back, no second question", 5_000, () -> listener.asked.size() == 1 && inbox.size() == 0);
    }

    @Test
    void an_undecided_transaction_is_asked_about_again() throws Exception {
        String topic = Cluster.topic(1);
        Asked listener = new Asked(body -> UNKNOWN, body -> UNKNOWN);
        listener.answerAfter(2, COMMIT);
        transactions(Cluster.unique("orders"), topic, listener).sendMessageInTransaction(message(topic, "very slow order"), null);
        inboxOf(topic).awaitExactly("very slow order");
        assertEquals(3, listener.asked.size());
        assertEquals(1, listener.asked.stream().map(MessageExt::getTransactionId).distinct().count());
    }

    @Test
    void a_listener_that_throws_leaves_the_transaction_unknown() throws Exception {
        String topic = Cluster.topic(1);
        Asked listener = new Asked(body -> {
            throw new IllegalStateException("database is away");
        }, body -> COMMIT);
        transactions(Cluster.unique("orders"), topic, listener).sendMessageInTransaction(message(topic, "order"), null);
        inboxOf(topic).awaitExactly("order");
        assertEquals(1, listener.asked.size());
    }

    @Test
    void a_transaction_that_nobody_decides_is_parked_after_the_last_question() throws Exception {
        String topic = Cluster.topic(1);
        Asked listener = new Asked(body -> UNKNOWN, body -> UNKNOWN);
        TransactionSendResult sent = transactions(Cluster.unique("orders"), topic, listener)
            .sendMessageInTransaction(message(topic, "hopeless order"), null);
        Await.until("five questions", () -> listener.asked.size() >= 5);
        DefaultMQPullConsumer reader = puller();
        Await.until("it in the parking topic", () -> {
            if (!Cluster.routed("TRANS_CHECK_MAX_TIME_TOPIC")) {
                return false;
            }
            MessageQueue parked = queue("TRANS_CHECK_MAX_TIME_TOPIC", 0);
            long end = reader.maxOffset(parked);
            PullResult result = reader.pull(parked, "*", Math.max(0, end - 32), 32);
            return result.getPullStatus() == PullStatus.FOUND && result.getMsgFoundList().stream()
                .anyMatch(message -> sent.getTransactionId().equals(message.getMsgId()));
        });
        assertEquals(5, listener.asked.size());
        assertEquals(PullStatus.NO_NEW_MSG, pull(reader, queue(topic, 0)).getPullStatus());
    }

    @Test
    void a_message_may_ask_for_a_longer_time_before_the_first_question() throws Exception {
        String topic = Cluster.topic(1);
        Asked listener = new Asked(body -> UNKNOWN, body -> COMMIT);
        long before = System.currentTimeMillis();
        Message patient = message(topic, "patient order");
        patient.putUserProperty(MessageConst.PROPERTY_CHECK_IMMUNITY_TIME_IN_SECONDS, "6");
        transactions(Cluster.unique("orders"), topic, listener).sendMessageInTransaction(patient, null);
        inboxOf(topic).awaitExactly("patient order");
        long waited = listener.firstAsked - before;
        assertTrue(waited >= 5_900, "immune, but asked about after " + waited + " ms");
    }

    @Test
    void when_a_producer_leaves_another_of_its_group_is_asked() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("orders");
        Asked leaving = new Asked(body -> UNKNOWN, body -> ROLLBACK);
        TransactionMQProducer producer = transactions(group, topic, leaving);
        producer.sendMessageInTransaction(message(topic, "inherited order"), null);
        producer.shutdown();
        Asked heir = new Asked(body -> ROLLBACK, body -> COMMIT);
        transactions(group, topic, heir);
        inboxOf(topic).awaitExactly("inherited order");
        assertEquals(0, leaving.asked.size());
        assertEquals(List.of("inherited order"), Inbox.bodies(heir.asked));
    }

    @Test
    void when_a_producer_dies_after_the_half_message_another_of_its_group_is_asked() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("orders");
        Asked heir = new Asked(body -> ROLLBACK, body -> COMMIT);
        transactions(group, topic, heir);
        Process doomed = new ProcessBuilder(System.getProperty("java.home") + "/bin/java", "-Xmx128m",
            "-Dnamesrv=" + Cluster.NAMESRV,
            "-Dlog.file=" + System.getProperty("log.file") + ".doomed",
            "-Duser.home=" + System.getProperty("user.home"),
            "-Drocketmq.serialize.type=" + (Cluster.binaryHeaders() ? "ROCKETMQ" : "JSON"),
            "-cp", System.getProperty("java.class.path"), Doomed.class.getName(), group, topic)
            .redirectErrorStream(true).redirectOutput(new File(System.getProperty("log.file") + ".doomed.out")).start();
        onEnd(doomed::destroyForcibly);
        assertTrue(doomed.waitFor(30, TimeUnit.SECONDS));
        assertEquals(Doomed.EXIT_CODE, doomed.exitValue());

        inboxOf(topic).awaitExactly("order of the dead");
        assertEquals(List.of("order of the dead"), Inbox.bodies(heir.asked));
    }

    /** A process that dies inside its local transaction, without a word to the broker. */
    static final class Doomed {
        static final int EXIT_CODE = 77;

        private Doomed() {
        }

        public static void main(String[] args) throws Exception {
            TransactionMQProducer producer = new TransactionMQProducer(args[0]);
            producer.setNamesrvAddr(System.getProperty("namesrv"));
            producer.setSendMsgTimeout(10_000);
            producer.setTransactionListener(new Asked(body -> {
                Runtime.getRuntime().halt(EXIT_CODE);
                return UNKNOWN;
            }, body -> ROLLBACK));
            producer.start();
            producer.sendMessageInTransaction(message(args[1], "order of the dead"), null);
        }
    }

    /** Decides by the text of a message and keeps every question of the broker. */
    private static final class Asked implements TransactionListener {
        final List<MessageExt> asked = new CopyOnWriteArrayList<>();
        volatile long firstAsked;
        private final Function<String, LocalTransactionState> execute;
        private final Function<String, LocalTransactionState> check;
        private int patience = Integer.MAX_VALUE;
        private LocalTransactionState finalAnswer;

        Asked(Function<String, LocalTransactionState> execute, Function<String, LocalTransactionState> check) {
            this.execute = execute;
            this.check = check;
        }

        void answerAfter(int questions, LocalTransactionState answer) {
            patience = questions;
            finalAnswer = answer;
        }

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object arg) {
            return execute.apply(new String(message.getBody(), java.nio.charset.StandardCharsets.UTF_8));
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            if (asked.isEmpty()) {
                firstAsked = System.currentTimeMillis();
            }
            asked.add(message);
            return asked.size() > patience ? finalAnswer : check.apply(Inbox.bodies(List.of(message)).get(0));
        }
    }

    private static PullResult pull(DefaultMQPullConsumer reader, MessageQueue queue) {
        try {
            return reader.pull(queue, "*", 0, 32);
        } catch (Exception e) {
            throw new IllegalStateException(e);
        }
    }
}
