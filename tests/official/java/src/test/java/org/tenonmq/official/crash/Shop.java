package org.tenonmq.official.crash;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * An application that is killed at any moment: sends transactions until the file {@code stop} appears, then only answers
 * checks. Started as a process of its own: {@code Shop NAMESRV TOPIC GROUP FOLDER NAME SEED}.
 */
public final class Shop {
    /** Older than this, a transaction without a decision belongs to a process that died: nobody will decide it. */
    private static final long ABANDONED_MS = 4_000;
    /** A send without an answer within this time is repeated. */
    static final int ANSWER_WITHIN_MS = 400;
    private static final int THREADS = 2;

    private final Books books;
    private final String name;

    private Shop(Books books, String name) {
        this.books = books;
        this.name = name;
    }

    public static void main(String[] args) throws Exception {
        String topic = args[1];
        Path folder = Path.of(args[3]);
        String name = args[4];
        long seed = Long.parseLong(args[5]);
        Shop shop = new Shop(new Books(folder), name);
        TransactionMQProducer producer = new TransactionMQProducer(args[2], List.of(topic));
        producer.setNamesrvAddr(args[0]);
        producer.setInstanceName(name);
        producer.setPollNameServerInterval(1_000);
        producer.setHeartbeatBrokerInterval(1_000);
        producer.setSendMsgMaxTimeoutPerRequest(ANSWER_WITHIN_MS);
        producer.setTransactionListener(shop.new Listener());
        producer.start();
        for (int thread = 0; thread < THREADS; thread++) {
            int number = thread;
            Random random = new Random(seed + thread);
            new Thread(() -> shop.sell(producer, topic, folder.resolve("stop"), number, random)).start();
        }
    }

    private void sell(TransactionMQProducer producer, String topic, Path stop, int thread, Random random) {
        for (int number = 0; !Files.exists(stop); number++) {
            String key = name + "-" + thread + "-" + number;
            try {
                producer.sendMessageInTransaction(new Message(topic, "", key, key.getBytes(UTF_8)), random);
                Thread.sleep(random.nextInt(20));
            } catch (Exception e) {
                pause(); // the broker is down: its half message may be stored all the same
            }
        }
    }

    private static void pause() {
        try {
            Thread.sleep(100);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    private final class Listener implements TransactionListener {
        /** Decides and says so, or says nothing yet, with the decision made or left to the check. */
        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            Random random = (Random) argument;
            int dice = random.nextInt(100);
            if (dice < 10) {
                return LocalTransactionState.UNKNOW;
            }
            try {
                String decision = books.decide(message.getKeys(), dice % 4 == 0 ? Books.ROLLBACK : Books.COMMIT, name);
                return dice < 25 ? LocalTransactionState.UNKNOW : stateOf(decision);
            } catch (Exception e) {
                return LocalTransactionState.UNKNOW;
            }
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            try {
                String key = message.getKeys();
                String decision = books.decision(key);
                if (decision == null && System.currentTimeMillis() - message.getBornTimestamp() > ABANDONED_MS) {
                    boolean commits = ThreadLocalRandom.current().nextInt(3) == 0;
                    decision = books.decide(key, commits ? Books.COMMIT : Books.ROLLBACK, name + "-check");
                }
                String answer = decision == null ? "unknown" : decision;
                books.checked(name, new Books.Check(System.currentTimeMillis(), key, message.getCommitLogOffset(), answer));
                return stateOf(decision);
            } catch (Exception e) {
                return LocalTransactionState.UNKNOW;
            }
        }

        private LocalTransactionState stateOf(String decision) {
            if (decision == null) {
                return LocalTransactionState.UNKNOW;
            }
            return Books.COMMIT.equals(decision) ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE;
        }
    }
}
