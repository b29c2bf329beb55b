package org.tenonmq.benches;

import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Threads that send half messages through one producer and commit each at once. The client does not wait for the answer
 * to a commit, so the time is that of the half message.
 *
 * <pre>TransactionProducers --name-server 127.0.0.1:9876 --threads 32 --size 1024 --seconds 10 [--warm-up 5] [--pid PID]</pre>
 */
public final class TransactionProducers {
    private TransactionProducers() {
    }

    /** Runs it. */
    public static void main(String[] arguments) throws Exception {
        Options options = new Options(arguments);
        Measurement measurement = new Measurement("java-transaction", options);
        TransactionMQProducer producer = new TransactionMQProducer("java-transactions");
        producer.setNamesrvAddr(options.text("name-server", "127.0.0.1:9876"));
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        producer.setTransactionListener(new Committing());
        producer.start();
        byte[] body = new byte[options.number("size", 1024)];
        String topic = options.text("topic", "BenchmarkTest");
        Threads threads = new Threads(options.number("threads", 32), () -> {
            long began = System.nanoTime();
            try {
                TransactionSendResult result = producer.sendMessageInTransaction(new Message(topic, body), null);
                if (result.getLocalTransactionState() != LocalTransactionState.COMMIT_MESSAGE) {
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

    /** Every transaction is committed, also when its commit was lost and the broker asks. */
    private static final class Committing implements TransactionListener {
        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return LocalTransactionState.COMMIT_MESSAGE;
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            return LocalTransactionState.COMMIT_MESSAGE;
        }
    }
}
