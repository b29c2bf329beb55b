package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageQueueAssignment;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.header.NotificationRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.NotificationResponseHeader;
import org.apache.rocketmq.remoting.protocol.header.PeekMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PollingInfoRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PollingInfoResponseHeader;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** What surrounds a pop: looking without taking, waiting for something to take, many acknowledgements at once. */
@Tag("json-only")
class PopLookTest extends Clients {
    @Test
    void a_peek_takes_nothing() throws Exception {
        String topic = Cluster.topic(1);
        String group = Pop.group();
        sendMany(producer(), queue(topic, 0), "message", 3);
        for (int i = 0; i < 2; i++) {
            RemotingCommand answer = peek(topic, group);
            assertEquals(ResponseCode.SUCCESS, answer.getCode(), answer.getRemark());
            assertEquals(List.of("message 0", "message 1"),
                Inbox.bodies(MessageDecoder.decodes(java.nio.ByteBuffer.wrap(answer.getBody()))));
        }
        assertEquals(3, Pop.pop(topic, group, 10, 20_000, 0).getMsgFoundList().size());
        assertEquals(ResponseCode.PULL_NOT_FOUND, peek(topic, group).getCode(), "popped messages are hidden from a peek too");
    }

    @Test
    void a_notification_says_whether_there_is_something_to_pop() throws Exception {
        String topic = Cluster.topic(1);
        String group = Pop.group();
        assertFalse(notification(topic, group, 0).isHasMsg());
        CompletableFuture<NotificationResponseHeader> waiting = CompletableFuture.supplyAsync(() -> {
            try {
                return notification(topic, group, 10_000);
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        Thread.sleep(500);
        assertFalse(waiting.isDone(), "held");
        producer().send(message(topic, "awaited"));
        assertTrue(waiting.get(1_500, TimeUnit.MILLISECONDS).isHasMsg());
        assertTrue(notification(topic, group, 10_000).isHasMsg(), "until it is popped");
    }

    @Test
    void pops_that_wait_are_counted() throws Exception {
        String topic = Cluster.topic(1);
        String group = Pop.group();
        assertEquals(0, polling(topic, group));
        CompletableFuture<PopResult> waiting = CompletableFuture.supplyAsync(() -> {
            try {
                return Pop.pop(topic, group, 1, 20_000, 15_000);
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        });
        Await.until("one that waits", () -> polling(topic, group) == 1);
        producer().send(message(topic, "at last"));
        assertEquals(PopStatus.FOUND, waiting.get(5, TimeUnit.SECONDS).getPopStatus());
    }

    @Test
    void many_are_acknowledged_at_once() throws Exception {
        String topic = Cluster.topic(2);
        String group = Pop.group();
        sendMany(producer(), topic, "message", 20);
        Inbox inbox = new Inbox();
        Await.until("all", () -> {
            PopResult result = Pop.pop(topic, group, 32, 3_000, 0);
            if (result.getPopStatus() == PopStatus.FOUND) {
                inbox.add(result.getMsgFoundList());
                assertEquals(AckStatus.OK, Pop.ackAll(topic, group, result.getMsgFoundList()));
            }
            return inbox.size() >= 20;
        });
        Await.stays("acknowledged", 7_000, () -> Pop.pop(topic, group, 10, 3_000, 0).getPopStatus() != PopStatus.FOUND);
        assertEquals(20, inbox.size());
    }

    @Test
    void a_handle_of_something_never_popped_is_refused() throws Exception {
        String topic = Cluster.topic(1);
        String group = Pop.group();
        sendMany(producer(), queue(topic, 0), "message", 1);
        PopResult result = Pop.pop(topic, group, 10, 20_000, 0);
        assertEquals(AckStatus.NO_EXIST, Pop.ackAt(topic, group, result.getMsgFoundList().get(0), 77));
    }

    @Test
    void a_group_set_to_pop_is_told_so_with_its_queues() throws Exception {
        String topic = Cluster.topic(2);
        String group = Pop.group();
        assertEquals(Set.of(MessageRequestMode.PULL), modes(topic, group));
        Cluster.admin().setMessageRequestMode(Cluster.brokerAddress(), topic, group, MessageRequestMode.POP, 0, 3_000);
        assertEquals(Set.of(MessageRequestMode.POP), modes(topic, group));
    }

    /** The modes of what a new member of the group is assigned. */
    private Set<MessageRequestMode> modes(String topic, String group) throws Exception {
        var member = consumer(group);
        member.setClientRebalance(false);
        member.subscribe(topic, "*");
        started(member, new Inbox());
        Set<MessageQueueAssignment> assigned = Await.answer("an assignment", () -> {
            Set<MessageQueueAssignment> given = Cluster.api().queryAssignment(Cluster.brokerAddress(), topic, group,
                member.buildMQClientId(), "AVG", MessageModel.CLUSTERING, 5_000);
            return given == null || given.isEmpty() ? null : given;
        });
        assertNotNull(assigned);
        member.shutdown();
        return assigned.stream().map(MessageQueueAssignment::getMode).collect(java.util.stream.Collectors.toSet());
    }

    private static RemotingCommand peek(String topic, String group) throws Exception {
        PeekMessageRequestHeader header = new PeekMessageRequestHeader();
        header.setTopic(topic);
        header.setConsumerGroup(group);
        header.setQueueId(0);
        header.setMaxMsgNums(2);
        return Cluster.ask(RequestCode.PEEK_MESSAGE, header, null);
    }

    private static NotificationResponseHeader notification(String topic, String group, long poll) throws Exception {
        NotificationRequestHeader header = new NotificationRequestHeader();
        header.setTopic(topic);
        header.setConsumerGroup(group);
        header.setQueueId(-1);
        header.setPollTime(poll);
        header.setBornTime(System.currentTimeMillis());
        RemotingCommand answer = Cluster.ask(RequestCode.NOTIFICATION, header, null);
        assertEquals(ResponseCode.SUCCESS, answer.getCode(), answer.getRemark());
        return (NotificationResponseHeader) answer.decodeCommandCustomHeader(NotificationResponseHeader.class);
    }

    private static int polling(String topic, String group) throws Exception {
        PollingInfoRequestHeader header = new PollingInfoRequestHeader();
        header.setTopic(topic);
        header.setConsumerGroup(group);
        header.setQueueId(-1);
        RemotingCommand answer = Cluster.ask(RequestCode.POLLING_INFO, header, null);
        assertEquals(ResponseCode.SUCCESS, answer.getCode(), answer.getRemark());
        return ((PollingInfoResponseHeader) answer.decodeCommandCustomHeader(PollingInfoResponseHeader.class)).getPollingNum();
    }
}
