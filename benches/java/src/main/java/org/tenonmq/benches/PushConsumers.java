package org.tenonmq.benches;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * A push consumer that finds a backlog in a topic of its own. Measured from its first tenth to its end, at most for
 * {@code --seconds}; a message's time is that from its creation, and so tells how long the backlog waited.
 *
 * <pre>PushConsumers --name-server 127.0.0.1:9876 --threads 20 --size 1024 --backlog 300000 --seconds 10 [--pid PID]</pre>
 */
public final class PushConsumers {
    private static final int TOGETHER = 32;

    private PushConsumers() {
    }

    /** Runs it. */
    public static void main(String[] arguments) throws Exception {
        Options options = new Options(arguments);
        Measurement measurement = new Measurement("java-consume", options);
        String topic = "java-load-" + System.currentTimeMillis();
        int backlog = options.number("backlog", 300_000);
        fill(options, topic, backlog);

        AtomicLong seen = new AtomicLong();
        CountDownLatch first = new CountDownLatch(1);
        CountDownLatch last = new CountDownLatch(1);
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(topic);
        consumer.setNamesrvAddr(options.text("name-server", "127.0.0.1:9876"));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(options.number("threads", 20));
        consumer.setConsumeThreadMax(options.number("threads", 20));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                measurement.succeeded((System.currentTimeMillis() - message.getBornTimestamp()) * 1000);
                long count = seen.incrementAndGet();
                if (count == backlog / 10) {
                    first.countDown();
                }
                if (count == backlog) {
                    last.countDown();
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        if (!first.await(30, TimeUnit.SECONDS)) {
            throw new IllegalStateException("only " + seen + " messages came in 30 s");
        }
        measurement.begin();
        last.await(options.number("seconds", 10), TimeUnit.SECONDS); // whatever has come by then counts
        measurement.end();
        boolean succeeded = measurement.print();
        consumer.shutdown();
        System.exit(succeeded ? 0 : 1);
    }

    private static void fill(Options options, String topic, int backlog) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("java-load-fill");
        producer.setNamesrvAddr(options.text("name-server", "127.0.0.1:9876"));
        producer.start();
        byte[] body = new byte[options.number("size", 1024)];
        producer.send(new Message(topic, body), 10_000); // creates the topic
        for (int sent = 1; sent < backlog; sent += TOGETHER) {
            List<Message> batch = new ArrayList<>(TOGETHER);
            for (int index = sent; index < Math.min(sent + TOGETHER, backlog); index++) {
                batch.add(new Message(topic, body));
            }
            producer.send(batch, 10_000);
        }
        producer.shutdown();
    }
}
