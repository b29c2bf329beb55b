package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/**
 * One data directory under two brokers: the tests tagged {@code exchange-write} leave work undone at one, those tagged
 * {@code exchange-read} find it at the other, which was started over the same directory. `run exchange` moves it.
 */
@Tag("exchange")
class ExchangeTest extends Clients {
    /** Thirty seconds by broker.properties: longer than a stop and a start take, mostly. */
    private static final int LATER = 14;
    private static final long LATER_MS = 30_000;

    @Test
    @Tag("exchange-write")
    void a_group_leaves_in_the_middle_of_a_queue() throws Exception {
        MessageQueue queue = made("offsets");
        sendMany(producer(), queue, "message", 10);
        DefaultMQPullConsumer consumer = puller(group("offsets"));
        Await.until("the last message", () -> consumer.pull(queue, "*", 9, 1).getPullStatus() == PullStatus.FOUND);
        consumer.getOffsetStore().updateConsumeOffsetToBroker(queue, 6, false);
        assertEquals(6, consumer.fetchConsumeOffset(queue, true));
    }

    @Test
    @Tag("exchange-read")
    void the_group_goes_on_there() throws Exception {
        Inbox inbox = new Inbox();
        consume(group("offsets"), topic("offsets"), "*", inbox);
        inbox.awaitExactly("message 6", "message 7", "message 8", "message 9");
    }

    @Test
    @Tag("exchange-write")
    void messages_are_sent_back_for_now_for_later_and_for_good() throws Exception {
        MessageQueue queue = made("retry");
        String group = group("retry");
        sendMany(producer(), queue, "message", 3);
        DefaultMQPullConsumer consumer = puller(group);
        Await.until("the last message", () -> consumer.pull(queue, "*", 2, 1).getPullStatus() == PullStatus.FOUND);
        List<MessageExt> messages = consumer.pull(queue, "*", 0, 3).getMsgFoundList();
        sendBack(messages.get(0), group, 1);
        sendBack(messages.get(1), group, LATER);
        sendBack(messages.get(2), group, -1);
        consumer.getOffsetStore().updateConsumeOffsetToBroker(queue, 3, false);
        MessageQueue retries = new MessageQueue("%RETRY%" + group, queue.getBrokerName(), 0);
        Await.until("the first in the retry topic", () -> consumer.maxOffset(retries) == 1);
    }

    @Test
    @Tag("exchange-read")
    void what_was_sent_back_comes_again_and_the_dead_stay_dead() throws Exception {
        Inbox inbox = new Inbox();
        consume(group("retry"), topic("retry"), "*", inbox);
        inbox.awaitExactly("message 0", "message 1");
        inbox.messages().forEach(message -> assertEquals(1, message.getReconsumeTimes()));
        inboxOf("%DLQ%" + group("retry")).awaitExactly("message 2");
    }

    @Test
    @Tag("exchange-write")
    void messages_wait_for_their_time() throws Exception {
        Message byLevel = message(made("delay").getTopic(), "by level");
        byLevel.setDelayTimeLevel(LATER);
        producer().send(byLevel);
        Message byTimer = message(made("timer").getTopic(), "by timer");
        byTimer.setDelayTimeMs(LATER_MS);
        producer().send(byTimer);
    }

    @Test
    @Tag("exchange-read")
    void what_waited_for_its_level_comes() throws Exception {
        inboxOf(topic("delay")).awaitExactly("by level");
    }

    @Test
    @Tag("exchange-read")
    void what_waited_for_its_timer_comes() throws Exception {
        inboxOf(topic("timer")).awaitExactly("by timer");
    }

    @Test
    @Tag("exchange-write")
    void a_transaction_is_left_undecided_and_another_is_over() throws Exception {
        String topic = made("half").getTopic();
        var producer = transactions(group("half"), topic, answering(LocalTransactionState.UNKNOW));
        producer.sendMessageInTransaction(message(topic, "undecided"), LocalTransactionState.UNKNOW);
        producer.sendMessageInTransaction(message(topic, "committed"), LocalTransactionState.COMMIT_MESSAGE);
        producer.sendMessageInTransaction(message(topic, "rolled back"), LocalTransactionState.ROLLBACK_MESSAGE);
        inboxOf(topic).awaitExactly("committed");
    }

    @Test
    @Tag("exchange-read")
    void the_undecided_transaction_is_asked_about_and_only_that() throws Exception {
        String topic = topic("half");
        transactions(group("half"), topic, answering(LocalTransactionState.COMMIT_MESSAGE));
        Inbox inbox = inboxOf(topic);
        inbox.awaitExactly("committed", "undecided");
        Await.stays("no other", 3_000, () -> inbox.size() == 2);
    }

    @Test
    @Tag("exchange-write")
    void a_lease_is_left_open() throws Exception {
        MessageQueue queue = made("pop");
        String group = group("pop");
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        Cluster.admin().createAndUpdateSubscriptionGroupConfig(Cluster.brokerAddress(), config);
        sendMany(producer(), queue, "message", 4);
        PopResult popped = Pop.pop(queue.getTopic(), group, 2, 15_000, 0);
        assertEquals(List.of("message 0", "message 1"), Inbox.bodies(popped.getMsgFoundList()));
        assertEquals(AckStatus.OK, Pop.ack(queue.getTopic(), group, popped.getMsgFoundList().get(0)));
    }

    /** Message 0 was acknowledged; its acknowledgement may be forgotten by the other broker. */
    @Test
    @Tag("exchange-read")
    void the_leased_message_and_those_behind_it_come() throws Exception {
        Set<String> got = new HashSet<>();
        Await.until(() -> "three messages, so far " + got, () -> {
            PopResult popped = Pop.pop(topic("pop"), group("pop"), 10, 60_000, 1_000);
            if (popped.getPopStatus() == PopStatus.FOUND) {
                for (MessageExt message : popped.getMsgFoundList()) {
                    assertEquals(AckStatus.OK, Pop.ack(topic("pop"), group("pop"), message));
                }
                got.addAll(Inbox.bodies(popped.getMsgFoundList()));
            }
            return got.containsAll(Set.of("message 1", "message 2", "message 3"));
        });
        assertTrue(got.size() == 3 || got.contains("message 0"), got.toString());
        if (got.contains("message 0")) {
            System.out.println("came twice: an acknowledged message of an open lease");
        }
    }

    private static String topic(String what) {
        return "exchange-" + what;
    }

    private static String group(String what) {
        return "exchange-group-" + what;
    }

    /** The one queue of a new topic. */
    private static MessageQueue made(String what) throws Exception {
        Cluster.create(new TopicConfig(topic(what), 1, 1, 6));
        return queue(topic(what), 0);
    }

    private static void sendBack(MessageExt message, String group, int level) throws Exception {
        Cluster.api().consumerSendMessageBack(Cluster.brokerAddress(), message.getBrokerName(), message, group, level, 5_000, 16);
    }

    /** Executes to what the caller passes with the send, and answers checks with the same for all. */
    private static TransactionListener answering(LocalTransactionState checks) {
        return new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object state) {
                return (LocalTransactionState) state;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return checks;
            }
        };
    }
}
