package org.tenonmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.MessageListener;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;
import org.junit.jupiter.api.AfterEach;

/** Base of all suites: opens clients for one test and closes them, last opened first, when it ends. */
abstract class Clients {
    private final Deque<Runnable> opened = new ArrayDeque<>();

    @AfterEach
    void closeAll() {
        while (true) {
            Runnable close;
            synchronized (opened) {
                close = opened.pollLast();
            }
            if (close == null) {
                return;
            }
            close.run();
        }
    }

    void onEnd(Runnable close) {
        synchronized (opened) {
            opened.addLast(close);
        }
    }

    <C extends ClientConfig> C configured(C client) {
        client.setNamesrvAddr(Cluster.NAMESRV);
        client.setInstanceName(Cluster.unique("client"));
        client.setPollNameServerInterval(1_000);
        client.setHeartbeatBrokerInterval(1_000);
        client.setPersistConsumerOffsetInterval(500);
        return client;
    }

    DefaultMQProducer producer() throws Exception {
        return started(new DefaultMQProducer(Cluster.unique("producers")));
    }

    /** Opens the producer, whose other settings the caller has made. */
    DefaultMQProducer started(DefaultMQProducer producer) throws Exception {
        configured(producer);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        onEnd(producer::shutdown);
        return producer;
    }

    /** A producer that is known at once, without a send, to the brokers that have the topic. */
    TransactionMQProducer transactions(String group, String topic, TransactionListener listener) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(group, List.of(topic));
        producer.setTransactionListener(listener);
        started(producer);
        return producer;
    }

    /** A push consumer, not started, that reads a topic from its first message. */
    DefaultMQPushConsumer consumer(String group) {
        DefaultMQPushConsumer consumer = configured(new DefaultMQPushConsumer(group));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(2);
        consumer.setConsumeThreadMax(2);
        return consumer;
    }

    DefaultMQPushConsumer consume(String group, String topic, String filter, MessageListener listener) throws Exception {
        DefaultMQPushConsumer consumer = consumer(group);
        consumer.subscribe(topic, filter);
        return started(consumer, listener);
    }

    DefaultMQPushConsumer started(DefaultMQPushConsumer consumer, MessageListener listener) throws Exception {
        if (listener instanceof MessageListenerOrderly) {
            consumer.registerMessageListener((MessageListenerOrderly) listener);
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) listener);
        }
        consumer.start();
        onEnd(consumer::shutdown);
        return consumer;
    }

    /** How many queues of the topic this member has now. */
    static int owned(DefaultMQPushConsumer consumer, String topic) {
        return (int) consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet().stream()
            .filter(queue -> queue.getTopic().equals(topic)).count();
    }

    /** What a new group gets of a topic from its first message on. */
    Inbox inboxOf(String topic) throws Exception {
        Inbox inbox = new Inbox();
        consume(Cluster.unique("group"), topic, "*", inbox);
        return inbox;
    }

    DefaultMQPullConsumer puller(String group) throws Exception {
        return started(new DefaultMQPullConsumer(group));
    }

    DefaultMQPullConsumer started(DefaultMQPullConsumer consumer) throws Exception {
        configured(consumer).start();
        onEnd(consumer::shutdown);
        return consumer;
    }

    DefaultMQPullConsumer puller() throws Exception {
        return puller(Cluster.unique("group"));
    }

    /** A lite pull consumer, not started; closed at the end. */
    DefaultLitePullConsumer lite(String group) {
        DefaultLitePullConsumer consumer = configured(new DefaultLitePullConsumer(group));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPollTimeoutMillis(200);
        onEnd(consumer::shutdown);
        return consumer;
    }

    static Message message(String topic, String body) {
        return new Message(topic, body.getBytes(UTF_8));
    }

    static Message message(String topic, String tag, String body) {
        return new Message(topic, tag, body.getBytes(UTF_8));
    }

    static MessageQueue queue(String topic, int id) throws Exception {
        return new MessageQueue(topic, Cluster.brokerName(), id);
    }

    /** Sends `prefix 0` to `prefix count-1` round the queues and returns these bodies. */
    static List<String> sendMany(DefaultMQProducer producer, String topic, String prefix, int count) throws Exception {
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            bodies.add(prefix + " " + i);
            producer.send(message(topic, prefix + " " + i));
        }
        return bodies;
    }

    /** Like {@link #sendMany}, to one queue. */
    static List<SendResult> sendMany(DefaultMQProducer producer, MessageQueue queue, String prefix, int count) throws Exception {
        List<SendResult> results = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            results.add(producer.send(message(queue.getTopic(), prefix + " " + i), queue));
        }
        return results;
    }
}
