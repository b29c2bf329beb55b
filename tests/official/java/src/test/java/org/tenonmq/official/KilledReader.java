package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.sysflag.PullSysFlag;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.header.PullMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PullMessageResponseHeader;

/** Every message of every queue as a broker serves it, system topics too, by pulls from offset 0. */
final class KilledReader {
    private static final String GROUP = "readers";

    /**
     * A message as it came over the wire.
     *
     * @param hash of all its bytes: body, properties, times, addresses and offsets
     * @param message without its body
     */
    record Read(String hash, MessageExt message) {
        String key() {
            return message.getKeys();
        }

        String uniqueKey() {
            return message.getProperty(MessageConst.PROPERTY_UNIQ_CLIENT_MESSAGE_ID_KEYIDX);
        }
    }

    private KilledReader() {
    }

    /** The queues that a data directory has. */
    static List<MessageQueue> queues(Path store) throws Exception {
        List<MessageQueue> queues = new ArrayList<>();
        try (Stream<Path> folders = Files.walk(store.resolve("consumequeue"), 2)) {
            for (Path folder : folders.filter(path -> path.getFileName().toString().matches("\\d+")).toList()) {
                queues.add(new MessageQueue(folder.getParent().getFileName().toString(), "broker-a",
                    Integer.parseInt(folder.getFileName().toString())));
            }
        }
        return queues;
    }

    /** By queue and offset, so that two brokers' can be compared. */
    static SortedMap<String, Read> all(Collection<MessageQueue> queues) throws Exception {
        SortedMap<String, Read> all = new TreeMap<>();
        for (MessageQueue queue : queues) {
            for (Read read : queue(queue)) {
                String place = String.format("%s/%d/%08d", queue.getTopic(), queue.getQueueId(), read.message.getQueueOffset());
                if (all.put(place, read) != null) {
                    throw new AssertionError("two messages at " + place);
                }
            }
        }
        return all;
    }

    /** All messages of a topic, queue by queue. */
    static List<Read> topic(String topic, int queues) throws Exception {
        List<Read> all = new ArrayList<>();
        for (int id = 0; id < queues; id++) {
            all.addAll(queue(new MessageQueue(topic, "broker-a", id)));
        }
        return all;
    }

    /** Where two reads differ, among messages stored up to a moment. */
    static SortedSet<String> differences(Map<String, Read> one, Map<String, Read> other, long storedUntil) {
        SortedSet<String> places = new TreeSet<>(one.keySet());
        places.addAll(other.keySet());
        SortedSet<String> differences = new TreeSet<>();
        for (String place : places) {
            Read a = one.get(place);
            Read b = other.get(place);
            boolean old = (a == null ? b : a).message.getStoreTimestamp() <= storedUntil;
            if (old && (a == null || b == null || !a.hash.equals(b.hash))) {
                differences.add(place + ": " + a + " and " + b);
            }
        }
        return differences;
    }

    private static List<Read> queue(MessageQueue queue) throws Exception {
        List<Read> all = new ArrayList<>();
        for (long next = 0; ; ) {
            RemotingCommand answer = pull(queue, next);
            var header = (PullMessageResponseHeader) answer.decodeCommandCustomHeader(PullMessageResponseHeader.class);
            switch (answer.getCode()) {
                case ResponseCode.SUCCESS -> split(answer.getBody(), all);
                case ResponseCode.PULL_OFFSET_MOVED, ResponseCode.PULL_RETRY_IMMEDIATELY ->
                    assertEquals(true, header.getNextBeginOffset() > next, "no way on in " + queue + " from " + next);
                case ResponseCode.PULL_NOT_FOUND, ResponseCode.TOPIC_NOT_EXIST -> {
                    return all;
                }
                default -> throw new AssertionError(queue + " at " + next + ": " + answer);
            }
            next = header.getNextBeginOffset();
        }
    }

    private static RemotingCommand pull(MessageQueue queue, long offset) throws Exception {
        PullMessageRequestHeader header = new PullMessageRequestHeader();
        header.setConsumerGroup(GROUP);
        header.setTopic(queue.getTopic());
        header.setQueueId(queue.getQueueId());
        header.setQueueOffset(offset);
        header.setMaxMsgNums(32);
        header.setSysFlag(PullSysFlag.buildSysFlag(false, false, true, false));
        header.setCommitOffset(0L);
        header.setSuspendTimeoutMillis(0L);
        header.setSubscription("*");
        header.setSubVersion(0L);
        header.setExpressionType("TAG");
        return Cluster.ask(RequestCode.PULL_MESSAGE, header, null);
    }

    private static void split(byte[] body, List<Read> into) throws Exception {
        ByteBuffer bytes = ByteBuffer.wrap(body);
        while (bytes.hasRemaining()) {
            byte[] record = new byte[bytes.getInt(bytes.position())];
            bytes.get(record);
            MessageExt message = MessageDecoder.decode(ByteBuffer.wrap(record), true, false);
            message.setBody(null);
            String hash = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(record));
            into.add(new Read(hash, message));
        }
    }
}
