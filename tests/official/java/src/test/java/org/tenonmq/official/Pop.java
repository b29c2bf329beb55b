package org.tenonmq.official;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.AckCallback;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ChangeInvisibleTimeRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/** One pop, acknowledgement or change of invisibility by the client's own request layer. */
final class Pop {
    private Pop() {
    }

    static String group() throws Exception {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(Cluster.unique("group"));
        Cluster.admin().createAndUpdateSubscriptionGroupConfig(Cluster.brokerAddress(), config);
        return config.getGroupName();
    }

    static PopResult popUntilFound(String topic, String group) throws Exception {
        PopResult[] found = new PopResult[1];
        Await.until("it visible again", () -> {
            found[0] = pop(topic, group, 10, 30_000, 1_000);
            return found[0].getPopStatus() == PopStatus.FOUND;
        });
        return found[0];
    }

    static PopResult pop(String topic, String group, int max, long invisible, long poll) throws Exception {
        return pop(request(topic, group, max, invisible, poll));
    }

    /** A pop in the order of each queue; the same attempt again is a repeat of the request, not another receiver. */
    static PopResult inOrder(String topic, String group, int max, long invisible, String attempt) throws Exception {
        PopMessageRequestHeader header = request(topic, group, max, invisible, 0);
        header.setOrder(true);
        header.setAttemptId(attempt);
        return pop(header);
    }

    private static PopMessageRequestHeader request(String topic, String group, int max, long invisible, long poll) {
        PopMessageRequestHeader header = new PopMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(topic);
        header.setQueueId(-1);
        header.setMaxMsgNums(max);
        header.setInvisibleTime(invisible);
        header.setPollTime(poll);
        header.setBornTime(System.currentTimeMillis());
        header.setInitMode(0);
        header.setExpType("TAG");
        header.setExp("*");
        return header;
    }

    static PopResult pop(PopMessageRequestHeader header) throws Exception {
        long poll = header.getPollTime();
        CompletableFuture<PopResult> done = new CompletableFuture<>();
        Cluster.api().popMessageAsync(Cluster.brokerName(), Cluster.brokerAddress(), header, poll + 10_000, new PopCallback() {
            @Override
            public void onSuccess(PopResult result) {
                done.complete(result);
            }

            @Override
            public void onException(Throwable e) {
                done.completeExceptionally(e);
            }
        });
        return done.get(poll + 15_000, TimeUnit.MILLISECONDS);
    }

    static AckStatus ack(String topic, String group, MessageExt message) throws Exception {
        String handle = message.getProperty(MessageConst.PROPERTY_POP_CK);
        return ackAt(topic, group, message, ExtraInfoUtil.getQueueOffset(ExtraInfoUtil.split(handle)));
    }

    /** Acknowledges another offset than the handle's. */
    static AckStatus ackAt(String topic, String group, MessageExt message, long offset) throws Exception {
        String handle = message.getProperty(MessageConst.PROPERTY_POP_CK);
        String[] parts = ExtraInfoUtil.split(handle);
        AckMessageRequestHeader header = new AckMessageRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(ExtraInfoUtil.getRealTopic(parts, topic, group));
        header.setQueueId(ExtraInfoUtil.getQueueId(parts));
        header.setOffset(offset);
        header.setExtraInfo(handle);
        Answer answer = new Answer();
        Cluster.api().ackMessageAsync(Cluster.brokerAddress(), 10_000, answer, header);
        return answer.get();
    }

    static AckStatus ackAll(String topic, String group, List<MessageExt> messages) throws Exception {
        List<String> handles = messages.stream().map(message -> message.getProperty(MessageConst.PROPERTY_POP_CK)).toList();
        Answer answer = new Answer();
        Cluster.api().batchAckMessageAsync(Cluster.brokerAddress(), 10_000, answer, topic, group, handles);
        return answer.get();
    }

    static AckStatus changeInvisible(String topic, String group, MessageExt message, long invisible) throws Exception {
        String handle = message.getProperty(MessageConst.PROPERTY_POP_CK);
        String[] parts = ExtraInfoUtil.split(handle);
        ChangeInvisibleTimeRequestHeader header = new ChangeInvisibleTimeRequestHeader();
        header.setConsumerGroup(group);
        header.setTopic(ExtraInfoUtil.getRealTopic(parts, topic, group));
        header.setQueueId(ExtraInfoUtil.getQueueId(parts));
        header.setOffset(ExtraInfoUtil.getQueueOffset(parts));
        header.setExtraInfo(handle);
        header.setInvisibleTime(invisible);
        Answer answer = new Answer();
        Cluster.api().changeInvisibleTimeAsync(Cluster.brokerName(), Cluster.brokerAddress(), header, 10_000, answer);
        return answer.get();
    }

    private static final class Answer implements AckCallback {
        private final CompletableFuture<AckStatus> done = new CompletableFuture<>();

        AckStatus get() throws Exception {
            return done.get(15, TimeUnit.SECONDS);
        }

        @Override
        public void onSuccess(AckResult result) {
            done.complete(result.getStatus());
        }

        @Override
        public void onException(Throwable e) {
            done.completeExceptionally(e);
        }
    }
}
