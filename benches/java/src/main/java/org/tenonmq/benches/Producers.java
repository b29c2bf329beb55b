package org.tenonmq.benches;

import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;

/**
 * Threads that send through one producer, each waiting for every answer.
 *
 * <pre>Producers --name-server 127.0.0.1:9876 --threads 64 --size 1024 --seconds 10 [--warm-up 5] [--pid PID]</pre>
 */
public final class Producers {
    private Producers() {
    }

    /** Runs it. */
    public static void main(String[] arguments) throws Exception {
        Options options = new Options(arguments);
        Measurement measurement = new Measurement("java-send", options);
        DefaultMQProducer producer = new DefaultMQProducer("java-load");
        producer.setNamesrvAddr(options.text("name-server", "127.0.0.1:9876"));
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        producer.start();
        byte[] body = new byte[options.number("size", 1024)];
        String topic = options.text("topic", "BenchmarkTest");
        Threads threads = new Threads(options.number("threads", 64), () -> {
            long began = System.nanoTime();
            try {
                SendResult result = producer.send(new Message(topic, body));
                if (result.getSendStatus() != SendStatus.SEND_OK) {
                    throw new IllegalStateException(result.toString());
                }
                measurement.succeeded((System.nanoTime() - began) / 1000);
            } catch (Exception why) {
                measurement.failed(why);
            }
        });
        measurement.window(options);
        threads.stop();
        producer.shutdown();
        System.exit(measurement.print() ? 0 : 1);
    }
}
