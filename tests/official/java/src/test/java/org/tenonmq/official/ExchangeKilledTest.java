package org.tenonmq.official;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.header.QueryConsumerOffsetRequestHeader;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.tenonmq.official.KilledBroker.Make;
import org.tenonmq.official.KilledReader.Read;

/**
 * A broker is killed with -9 under load, and one of the other make takes its directory over. First both makes open a copy each
 * and must show the same messages, all acknowledged ones among them. Then the other goes on, until everything that was left
 * undone is done: nothing acknowledged is lost, nothing rolled back is seen; what repeats is counted by kind and printed.
 *
 * <p>{@code KILLED_ROUNDS} says how often in each direction, {@code KILLED_SEED} repeats the choices of a run.
 */
@Tag("exchange-killed")
class ExchangeKilledTest {
    private static final long SETTLE_LIMIT_MS = 120_000;
    private static final long LOOK_MS = 500;
    private static final long LAG_MS = 400;
    /** Longer than from one check to the next. */
    private static final long QUIET_MS = 2_500;
    /** Apache's timer works in whole seconds, rounded down. */
    private static final long EARLY_MS = 1_000;

    private final Path folder = Path.of(System.getenv("CRASH_WORK"));
    private final Map<String, Map<String, Integer>> repeats = new TreeMap<>();
    private KilledBroker broker;
    private KilledLoad load;

    @Test
    @Timeout(value = 8, unit = TimeUnit.HOURS)
    void a_killed_brokers_directory_goes_on_under_the_other_make() throws Exception {
        String given = System.getenv("KILLED_SEED");
        long seed = given == null || given.isEmpty() ? System.nanoTime() & 0xffffff : Long.parseLong(given);
        int rounds = Integer.parseInt(System.getenv().getOrDefault("KILLED_ROUNDS", "1"));
        System.out.println("killed: KILLED_SEED=" + seed + " KILLED_ROUNDS=" + rounds);
        Random random = new Random(seed);
        for (int round = 1; round <= rounds; round++) {
            // The first kill comes early; later ones when offsets and checkpoints have been saved a few times.
            long moment = random.nextInt(round == 1 ? 2_000 : 12_000);
            exchange(Make.OURS, Make.APACHE, folder.resolve(round + "-ours"), moment, new Random(random.nextLong()));
            exchange(Make.APACHE, Make.OURS, folder.resolve(round + "-apache"), moment, new Random(random.nextLong()));
        }
        repeats.forEach((direction, kinds) -> System.out.println("killed: " + direction + " repeats: " + kinds));
    }

    @AfterEach
    void end() throws Exception {
        if (broker != null) {
            broker.kill();
        }
        if (load != null) {
            load.stop();
        }
    }

    private void exchange(Make from, Make to, Path place, long moment, Random random) throws Exception {
        String direction = from + " to " + to;
        Files.createDirectories(place);
        try (KilledLedger ledger = new KilledLedger(place.resolve("ledger"))) {
            broker = KilledBroker.start(from, place.resolve("written"));
            load = new KilledLoad(ledger, random);
            load.start();
            Await.within(SETTLE_LIMIT_MS, () -> "load, so far " + ledger.kinds(), load::underWay);
            Thread.sleep(moment);
            load.lag();
            Thread.sleep(LAG_MS);
            broker.kill();
            long killedAt = System.currentTimeMillis();
            load.stop();
            ledger.note("killed at " + killedAt);
            broker.copyTo(place.resolve("same"));
            broker.copyTo(place.resolve("other"));

            broker = KilledBroker.start(from, place.resolve("same"));
            SortedMap<String, Read> same = KilledReader.all(queues(place.resolve("same")));
            checkOffsets(ledger, from == Make.OURS);
            broker.kill();
            broker = KilledBroker.start(to, place.resolve("other"));
            SortedMap<String, Read> other = KilledReader.all(queues(place.resolve("same"), place.resolve("other")));
            checkOffsets(ledger, false);
            none(direction + ": read differently", KilledReader.differences(same, other, killedAt));
            none(direction + ": acknowledged before the kill and not there", acknowledgedAndNotThere(ledger, other));
            none(direction + ": visible and not decided", visibleTooSoon(other));

            load.goOn();
            List<String> missing = new ArrayList<>();
            Await.within(SETTLE_LIMIT_MS, () -> direction + ": " + some(missing), () -> {
                Thread.sleep(LOOK_MS);
                missing.clear();
                return !missing.addAll(missing(ledger));
            });
            Await.within(SETTLE_LIMIT_MS, () -> "end of checks",
                () -> System.currentTimeMillis() > Math.max(ledger.lastCheck.get(), killedAt) + QUIET_MS);
            none(direction + ": missing", missing(ledger));
            none(direction, wrong(ledger));
            Map<String, Integer> twice = repeated(ledger);
            twice.forEach((kind, count) -> repeats.computeIfAbsent(direction, d -> new TreeMap<>()).merge(kind, count, Integer::sum));
            System.out.println("killed: " + direction + " after " + moment + " ms more: " + ledger.kinds() + ", " + same.size()
                + " messages compared, repeats " + twice);
        } finally {
            broker.kill();
            load.stop();
        }
        delete(place);
    }

    private static void none(String what, Collection<String> found) {
        if (!found.isEmpty()) {
            throw new AssertionError(what + ": " + some(found));
        }
    }

    /** How many, and the first. */
    private static String some(Collection<String> found) {
        return found.size() + ", " + found.stream().limit(6).toList();
    }

    private static Collection<MessageQueue> queues(Path... places) throws Exception {
        Set<MessageQueue> queues = new HashSet<>();
        for (Path place : places) {
            queues.addAll(KilledReader.queues(place.resolve("store")));
        }
        return queues;
    }

    /** No offset is beyond what was asked for; after our own kill, none is behind what was acknowledged. */
    private static void checkOffsets(KilledLedger ledger, boolean exact) throws Exception {
        for (int queue = 0; queue < KilledLoad.QUEUES; queue++) {
            long now = offset(queue);
            long asked = ledger.offsetsAsked.getOrDefault(queue, -1L);
            long kept = ledger.offsetsKept.getOrDefault(queue, -1L);
            ledger.note("offset of queue " + queue + " now " + now + ", acknowledged " + kept);
            if (now > asked || exact && now < kept) {
                throw new AssertionError("offset of queue " + queue + " is " + now + ", acknowledged " + kept + ", asked " + asked);
            }
        }
    }

    private static long offset(int queue) throws Exception {
        QueryConsumerOffsetRequestHeader header = new QueryConsumerOffsetRequestHeader();
        header.setConsumerGroup(KilledLoad.OFFSETS);
        header.setTopic("plain");
        header.setQueueId(queue);
        header.setSetZeroIfNotFound(false);
        try {
            return Cluster.api().queryConsumerOffset(Cluster.brokerAddress(), header, 10_000);
        } catch (org.apache.rocketmq.client.exception.OffsetNotFoundException e) {
            return -1;
        }
    }

    /** Of what was acknowledged with a place, what is not at its place; of the rest, what is nowhere. */
    private static Set<String> acknowledgedAndNotThere(KilledLedger ledger, SortedMap<String, Read> all) {
        Set<String> anywhere = new HashSet<>();
        all.values().forEach(read -> anywhere.add(read.uniqueKey()));
        Set<String> lost = new TreeSet<>();
        ledger.sent.forEach((key, sent) -> {
            Read read = all.get(String.format("%s/%d/%08d", sent.topic(), sent.queue(), sent.offset()));
            boolean there = sent.topic() == null ? anywhere.contains(sent.uniqueKey())
                : read != null && key.equals(read.key()) && List.of(read.uniqueKey(), "").contains(sent.uniqueKey());
            if (!there) {
                lost.add(key + " " + sent);
            }
        });
        return lost;
    }

    private static Set<String> visibleTooSoon(SortedMap<String, Read> all) {
        Set<String> visible = new TreeSet<>();
        all.forEach((place, read) -> {
            if (place.startsWith("transaction/") && read.key().contains("undecided")) {
                visible.add(place + " " + read.key());
            }
        });
        return visible;
    }

    /** What was acknowledged and has not come to its end yet. */
    private List<String> missing(KilledLedger ledger) throws Exception {
        Map<String, Integer> visible = visible();
        Set<String> dead = new HashSet<>();
        KilledReader.topic("%DLQ%" + KilledLoad.PUSH, 1).forEach(read -> dead.add(read.key()));
        List<String> missing = new ArrayList<>();
        ledger.sent.keySet().forEach(key -> {
            boolean done = switch (KilledLedger.kind(key)) {
                case "plain" -> KilledLoad.hopeless(key) ? dead.contains(key) : ledger.consumed.containsKey(key);
                case "transaction" -> !KilledLoad.commits(key) || visible.containsKey(key);
                case "pop" -> ledger.popAcknowledged.contains(key) || load.afterwards.containsKey(key);
                default -> visible.containsKey(key);
            };
            if (!done) {
                missing.add(key);
            }
        });
        return missing;
    }

    /** How often each message is in its topic. */
    private static Map<String, Integer> visible() throws Exception {
        Map<String, Integer> visible = new HashMap<>();
        for (String topic : KilledLoad.TOPICS) {
            KilledReader.topic(topic, KilledLoad.QUEUES).forEach(read -> visible.merge(read.key(), 1, Integer::sum));
        }
        return visible;
    }

    /** What nobody may ever see: rolled back, before its time, or out of order. */
    private static Set<String> wrong(KilledLedger ledger) throws Exception {
        Set<String> wrong = new TreeSet<>();
        for (Read read : KilledReader.topic("transaction", KilledLoad.QUEUES)) {
            if (!KilledLoad.commits(read.key())) {
                wrong.add("rolled back and visible: " + read);
            }
        }
        for (String topic : List.of("level", "timer")) {
            for (Read read : KilledReader.topic(topic, KilledLoad.QUEUES)) {
                KilledLedger.Sent sent = ledger.sent.get(read.key());
                if (sent != null && read.message().getStoreTimestamp() < sent.sentAt() + sent.delay() - EARLY_MS) {
                    wrong.add("before its time: " + read);
                }
            }
        }
        Map<Integer, Integer> last = new HashMap<>();
        for (Read read : KilledReader.topic("ordered", KilledLoad.QUEUES)) {
            int number = KilledLedger.number(read.key());
            Integer before = last.put(number % KilledLoad.SHARDS, number);
            if (before != null && before >= number) {
                wrong.add("behind number " + before + ": " + read);
            }
        }
        return wrong;
    }

    /** What was there or came more than once, by kind. */
    private Map<String, Integer> repeated(KilledLedger ledger) throws Exception {
        Map<String, Integer> repeats = new TreeMap<>();
        visible().forEach((key, times) -> add(repeats, KilledLedger.kind(key) + " message in its topic again", times - 1));
        Map<String, Integer> dead = new HashMap<>();
        KilledReader.topic("%DLQ%" + KilledLoad.PUSH, 1).forEach(read -> dead.merge(read.key(), 1, Integer::sum));
        dead.forEach((key, times) -> add(repeats, "dead letter again", times - 1));
        KilledLedger.counts(ledger.consumed).forEach((key, times) -> add(repeats, "consumed again", times - 1));
        load.afterwards.forEach((key, times) -> {
            add(repeats, "popped and acknowledged, popped again", ledger.popAcknowledged.contains(key) ? 1 : 0);
            add(repeats, "popped twice from the second broker", times - 1);
        });
        add(repeats, "popped before the end of its lease", load.early.size());
        return repeats;
    }

    private static void add(Map<String, Integer> counts, String kind, int count) {
        if (count > 0) {
            counts.merge(kind, count, Integer::sum);
        }
    }

    private static void delete(Path folder) throws Exception {
        List<Path> paths;
        try (Stream<Path> all = Files.walk(folder)) {
            paths = new ArrayList<>(all.toList());
        }
        for (int i = paths.size(); i-- > 0; ) {
            Files.delete(paths.get(i));
        }
    }
}
