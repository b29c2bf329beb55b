package org.tenonmq.official.crash;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/**
 * The promises about transactions, kept under {@code kill -9}: two processes of one producer group, each the official
 * {@code TransactionMQProducer}, and the broker are killed at random moments again and again, while a push consumer reads.
 * When all has settled, the books of the applications are compared with the log.
 *
 * <p>{@code CRASH_ROUNDS} says how often something is killed, {@code CRASH_SEED} repeats a run's choices.
 */
@Tag("crash")
class CrashTest {
    /** Longest wait for anything, far beyond what a busy machine needs. */
    private static final long LIMIT_MS = 180_000;
    private static final String TOPIC = "sold";
    private static final String GROUP = "shop";
    private static final List<String> SHOPS = List.of("east", "west");
    /** Decisions that must have been made since the last kill before the next one. */
    private static final int PROGRESS = 25;
    /** A question may be on its way for so long when its message is decided. */
    private static final long ON_ITS_WAY_MS = 15_000;
    /** No check within this time, several intervals long, means that none is to come. */
    private static final long QUIET_MS = 4_000;

    private final Path folder = Path.of(System.getenv("CRASH_WORK"));
    private final Map<String, Process> shops = new HashMap<>();
    private final List<Runnable> clients = new ArrayList<>();
    private final Set<String> seen = ConcurrentHashMap.newKeySet();
    private BrokerProcess broker;
    private Books books;
    private int incarnations;

    @Test
    @Timeout(value = 8, unit = TimeUnit.HOURS)
    void what_was_decided_holds_whoever_is_killed_and_when() throws Exception {
        String given = System.getenv("CRASH_SEED");
        long seed = given == null || given.isEmpty() ? System.nanoTime() & 0xffffff : Long.parseLong(given);
        int rounds = Integer.parseInt(System.getenv().getOrDefault("CRASH_ROUNDS", "18"));
        System.out.println("crash: CRASH_SEED=" + seed + " CRASH_ROUNDS=" + rounds);
        Random random = new Random(seed);
        broker = new BrokerProcess(folder.resolve("broker"));
        books = new Books(folder);
        broker.start(true);
        createTopic();
        for (String shop : SHOPS) {
            open(shop, random.nextLong());
        }
        consume();
        progress();
        for (int round = 1; round <= rounds; round++) {
            disturb(random, round);
            progress();
        }
        Files.createFile(folder.resolve("stop"));
        settled();
        int published = check();
        // Once more, now that nothing goes on: what was settled stays so.
        broker.kill();
        broker.start(false);
        settled();
        assertEquals(published, check());
        int twice = broker.admin("--json", "transaction", "audit").split("drop: sent twice", -1).length - 1;
        System.out.println("crash: " + books.count() + " decisions, " + published + " messages published, "
            + books.checks().size() + " checks, " + twice + " half messages sent twice and published once");
    }

    @AfterEach
    void end() throws Exception {
        clients.forEach(Runnable::run);
        for (Process shop : shops.values()) {
            shop.destroyForcibly().waitFor();
        }
        if (broker != null) {
            broker.kill();
        }
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    static void until(String what, Condition condition) throws Exception {
        long end = System.nanoTime() + LIMIT_MS * 1_000_000;
        while (!condition.holds()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("still waiting for the " + what);
            }
            Thread.sleep(50);
        }
    }

    /**
     * Kills a shop or, more often, the broker, which is started again at once or after a while; or has the broker pause, so
     * that clients that get no answer send a half message twice.
     */
    private void disturb(Random random, int round) throws Exception {
        Thread.sleep(random.nextInt(1_500));
        int choice = random.nextInt(8);
        long missing = random.nextBoolean() ? 0 : random.nextInt(2_500);
        long newSeed = random.nextLong();
        boolean synchronous = random.nextBoolean();
        if (choice < SHOPS.size()) {
            String shop = SHOPS.get(choice);
            System.out.println("crash: round " + round + " kills " + shop + ", back after " + missing + " ms");
            shops.get(shop).destroyForcibly().waitFor();
            Thread.sleep(missing);
            open(shop, newSeed);
        } else if (choice < 6) {
            System.out.println("crash: round " + round + " kills the broker, back after " + missing + " ms");
            broker.kill();
            Thread.sleep(missing);
            broker.start(synchronous);
        } else {
            long pause = 2 * Shop.ANSWER_WITHIN_MS + missing;
            System.out.println("crash: round " + round + " has the broker pause for " + pause + " ms");
            broker.pause(pause);
        }
    }

    /** Transactions are being decided again. */
    private void progress() throws Exception {
        long before = books.count();
        until("shops to go on", () -> books.count() >= before + PROGRESS);
    }

    private void open(String shop, long seed) throws Exception {
        String name = shop + "-" + ++incarnations;
        List<String> command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog.file=" + folder.resolve(name + "-client.log"),
            "-Duser.home=" + System.getProperty("user.home")));
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), Shop.class.getName(), broker.namesrv(), TOPIC,
            GROUP, folder.toString(), name, Long.toString(seed)));
        Path out = folder.resolve(name + "-out");
        shops.put(shop, new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(out.toFile()).start());
    }

    private <C extends ClientConfig> C configured(C client, String name) {
        client.setNamesrvAddr(broker.namesrv());
        client.setInstanceName(name);
        client.setPollNameServerInterval(1_000);
        client.setHeartbeatBrokerInterval(1_000);
        client.setPersistConsumerOffsetInterval(500);
        return client;
    }

    private void createTopic() throws Exception {
        DefaultMQAdminExt admin = configured(new DefaultMQAdminExt(20_000), "admin");
        admin.start();
        try {
            var brokers = admin.examineBrokerClusterInfo().getBrokerAddrTable();
            String address = brokers.get("broker-a").getBrokerAddrs().get(0L);
            admin.createAndUpdateTopicConfig(address, new TopicConfig(TOPIC, 4, 4, 6));
        } finally {
            admin.shutdown();
        }
    }

    private void consume() throws Exception {
        DefaultMQPushConsumer consumer = configured(new DefaultMQPushConsumer("readers"), "reader");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(TOPIC, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(message -> seen.add(message.getKeys()));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        clients.add(consumer::shutdown);
    }

    /** Nothing is undecided, nothing was given up, and no more checks come. */
    private void settled() throws Exception {
        until("list of undecided transactions to be empty", () -> {
            // A send that was under way when the shops were told to stop may bring one more.
            return pending() == 0 && quiet() && pending() == 0;
        });
        String exhausted = broker.admin("--json", "transaction", "list", "--exhausted");
        assertTrue(exhausted.replaceAll("\\s", "").contains("\"transactions\":[]"), exhausted);
    }

    private long pending() throws Exception {
        String list = broker.admin("--json", "transaction", "list").replaceAll("\\s", "");
        int at = list.indexOf("\"pending\":");
        assertTrue(at >= 0, list);
        return Long.parseLong(list.substring(at + 10).split("[^0-9]")[0]);
    }

    private boolean quiet() throws Exception {
        int before = books.checks().size();
        Thread.sleep(QUIET_MS);
        return books.checks().size() == before;
    }

    /** Compares the books with the log; the number of messages published. */
    private int check() throws Exception {
        Map<String, String> decided = books.decided();
        List<MessageExt> log = log();
        Map<String, Integer> published = new HashMap<>();
        Map<String, Integer> byUniqueKey = new HashMap<>();
        log.forEach(message -> {
            published.merge(message.getKeys(), 1, Integer::sum);
            byUniqueKey.merge(message.getMsgId(), 1, Integer::sum);
        });
        Set<String> wrong = new TreeSet<>();
        decided.forEach((key, decision) -> {
            int expected = Books.COMMIT.equals(decision) ? 1 : 0;
            int found = published.getOrDefault(key, 0);
            if (found != expected) {
                wrong.add(key + " (" + decision + ") is visible " + found + " times");
            }
        });
        published.keySet().stream().filter(key -> !decided.containsKey(key))
            .forEach(key -> wrong.add(key + " is visible and nobody decided"));
        byUniqueKey.forEach((key, count) -> {
            if (count != 1) {
                wrong.add("unique key " + key + " is visible " + count + " times");
            }
        });
        askedAfterCommit(log).forEach(wrong::add);
        assertEquals(Set.of(), wrong);
        until("consumer to have seen what was published", () -> seen.containsAll(published.keySet()));
        assertEquals(Set.of(), difference(seen, published.keySet()), "seen, and not in the log");
        return log.size();
    }

    /** Checks of half messages whose published message was in the log long before. */
    private List<String> askedAfterCommit(List<MessageExt> log) throws Exception {
        Map<Long, Long> committedAt = new HashMap<>();
        log.forEach(message -> committedAt.put(message.getPreparedTransactionOffset(), message.getStoreTimestamp()));
        List<String> wrong = new ArrayList<>();
        for (Books.Check check : books.checks()) {
            Long committed = committedAt.get(check.halfLogOffset());
            if (committed != null && check.at() > committed + ON_ITS_WAY_MS) {
                wrong.add(check.key() + " was asked about " + (check.at() - committed) + " ms after its commit");
            }
        }
        return wrong;
    }

    private static Set<String> difference(Set<String> one, Set<String> other) {
        Set<String> left = new HashSet<>(one);
        left.removeAll(other);
        return left;
    }

    /** Every message of the topic, queue by queue, from the first offset to the last. */
    private List<MessageExt> log() throws Exception {
        DefaultMQPullConsumer reader = configured(new DefaultMQPullConsumer("auditors"), "auditor-" + ++incarnations);
        reader.start();
        try {
            List<MessageExt> all = new ArrayList<>();
            until("queues of the topic", () -> reader.fetchSubscribeMessageQueues(TOPIC).size() == 4);
            for (MessageQueue queue : reader.fetchSubscribeMessageQueues(TOPIC)) {
                long end = reader.maxOffset(queue);
                for (long next = reader.minOffset(queue); next < end; ) {
                    PullResult result = reader.pull(queue, "*", next, 32);
                    assertEquals(PullStatus.FOUND, result.getPullStatus(), queue + " at " + next);
                    for (MessageExt message : result.getMsgFoundList()) {
                        assertEquals(next++, message.getQueueOffset(), "a gap in " + queue);
                        all.add(message);
                    }
                }
            }
            return all;
        } finally {
            reader.shutdown();
        }
    }
}
