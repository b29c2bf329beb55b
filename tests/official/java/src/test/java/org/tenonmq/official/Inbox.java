package org.tenonmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.stream.Collectors;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyContext;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.common.message.MessageExt;

/** A listener that keeps what it is given, and the sentences tests say about it. */
final class Inbox implements MessageListenerConcurrently {
    private final List<MessageExt> messages = new CopyOnWriteArrayList<>();

    @Override
    public ConsumeConcurrentlyStatus consumeMessage(List<MessageExt> batch, ConsumeConcurrentlyContext context) {
        messages.addAll(batch);
        return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
    }

    void add(Collection<MessageExt> batch) {
        messages.addAll(batch);
    }

    List<MessageExt> messages() {
        return messages;
    }

    int size() {
        return messages.size();
    }

    List<String> bodies() {
        return bodies(messages);
    }

    static List<String> bodies(List<MessageExt> messages) {
        return messages.stream().map(message -> new String(message.getBody(), UTF_8)).collect(Collectors.toList());
    }

    MessageExt only() throws Exception {
        awaitCount(1);
        return messages.get(0);
    }

    void awaitCount(int count) throws Exception {
        Await.until(() -> count + " messages, so far " + bodies(), () -> messages.size() >= count);
        if (messages.size() > count) {
            throw new AssertionError("expected " + count + " messages, got " + bodies());
        }
    }

    /** Waits until these bodies, in any order, are all there, and fails on any other. */
    void awaitExactly(Collection<String> expected) throws Exception {
        awaitCount(expected.size());
        List<String> wanted = sorted(expected);
        List<String> got = sorted(bodies());
        if (!wanted.equals(got)) {
            throw new AssertionError("expected " + wanted + ", got " + got);
        }
    }

    void awaitExactly(String... expected) throws Exception {
        awaitExactly(Arrays.asList(expected));
    }

    private static List<String> sorted(Collection<String> texts) {
        List<String> list = new ArrayList<>(texts);
        list.sort(null);
        return list;
    }
}
