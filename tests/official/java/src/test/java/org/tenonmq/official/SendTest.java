package org.tenonmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.common.sysflag.MessageSysFlag;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.ResponseCode;
import org.apache.rocketmq.remoting.protocol.header.SendMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.route.QueueData;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class SendTest extends Clients {
    private static final int MIB = 1024 * 1024;

    @Test
    void a_synchronous_send_answers_where_the_message_lies() throws Exception {
        MessageQueue queue = queue(Cluster.topic(2), 1);
        DefaultMQProducer producer = producer();
        SendResult first = producer.send(message(queue.getTopic(), "first"), queue);
        SendResult second = producer.send(message(queue.getTopic(), "second"), queue);

        assertEquals(SendStatus.SEND_OK, first.getSendStatus());
        assertEquals(queue, first.getMessageQueue());
        assertEquals(0, first.getQueueOffset());
        assertEquals(1, second.getQueueOffset());
        assertNotNull(first.getMsgId());
        assertEquals(32, first.getOffsetMsgId().length(), "IPv4 and port and log offset in hexadecimal");
        assertNotEquals(first.getOffsetMsgId(), second.getOffsetMsgId());
    }

    @Test
    void an_asynchronous_send_calls_back_with_the_result() throws Exception {
        String topic = Cluster.topic(1);
        DefaultMQProducer producer = producer();
        Set<Long> offsets = new HashSet<>();
        for (int i = 0; i < 20; i++) {
            CompletableFuture<SendResult> done = new CompletableFuture<>();
            producer.send(message(topic, "async " + i), completing(done));
            SendResult result = done.get(10, TimeUnit.SECONDS);
            assertEquals(SendStatus.SEND_OK, result.getSendStatus());
            offsets.add(result.getQueueOffset());
        }
        assertEquals(20, offsets.size());
    }

    @Test
    void many_asynchronous_sends_in_flight_are_each_answered_once() throws Exception {
        String topic = Cluster.topic(4);
        DefaultMQProducer producer = producer();
        List<CompletableFuture<SendResult>> all = new java.util.ArrayList<>();
        for (int i = 0; i < 500; i++) {
            CompletableFuture<SendResult> done = new CompletableFuture<>();
            all.add(done);
            producer.send(message(topic, "burst " + i), completing(done));
        }
        Set<String> places = new HashSet<>();
        for (CompletableFuture<SendResult> done : all) {
            SendResult result = done.get(20, TimeUnit.SECONDS);
            places.add(result.getMessageQueue().getQueueId() + ":" + result.getQueueOffset());
        }
        assertEquals(500, places.size());
    }

    @Test
    void a_oneway_send_arrives() throws Exception {
        String topic = Cluster.topic(1);
        producer().sendOneway(message(topic, "no answer wanted"));
        inboxOf(topic).awaitExactly("no answer wanted");
    }

    @Test
    void the_first_send_creates_an_unknown_topic_with_the_producers_number_of_queues() throws Exception {
        String topic = Cluster.unique("auto");
        DefaultMQProducer producer = producer();
        assertEquals(SendStatus.SEND_OK, producer.send(message(topic, "first")).getSendStatus());
        Await.until("a route", () -> Cluster.routed(topic));
        QueueData queues = Cluster.admin().examineTopicRouteInfo(topic).getQueueDatas().get(0);
        assertEquals(producer.getDefaultTopicQueueNums(), queues.getWriteQueueNums());
        assertEquals(producer.getDefaultTopicQueueNums(), queues.getReadQueueNums());
        assertEquals(6, queues.getPerm());
        inboxOf(topic).awaitExactly("first");
    }

    @Test
    void everything_in_a_message_arrives_as_it_was_sent() throws Exception {
        String topic = Cluster.topic(1);
        Message sent = new Message(topic, "tag", "key-1 key-2", 7, "körper\u0000".getBytes(UTF_8), true);
        sent.putUserProperty("plain", "value");
        sent.putUserProperty("ünicode", "wörter 文字");
        SendResult result = producer().send(sent);
        MessageExt got = inboxOf(topic).only();

        assertArrayEquals(sent.getBody(), got.getBody());
        assertEquals("tag", got.getTags());
        assertEquals("key-1 key-2", got.getKeys());
        assertEquals(7, got.getFlag());
        assertEquals("value", got.getUserProperty("plain"));
        assertEquals("wörter 文字", got.getUserProperty("ünicode"));
        assertEquals(result.getMsgId(), got.getMsgId());
        assertEquals(result.getQueueOffset(), got.getQueueOffset());
        assertEquals(result.getOffsetMsgId(), ((org.apache.rocketmq.common.message.MessageClientExt) got).getOffsetMsgId());
        assertTrue(Math.abs(got.getStoreTimestamp() - got.getBornTimestamp()) < 60_000);
        assertEquals(0, got.getReconsumeTimes());
    }

    @ParameterizedTest
    @EnumSource(CompressionType.class)
    void a_large_body_travels_compressed_and_arrives_whole(CompressionType type) throws Exception {
        String topic = Cluster.topic(1);
        byte[] body = new byte[100_000];
        Arrays.fill(body, 1_000, 90_000, (byte) 'x');
        DefaultMQProducer producer = new DefaultMQProducer(Cluster.unique("producers"));
        producer.setCompressType(type);
        started(producer).send(new Message(topic, body));
        assertArrayEquals(body, inboxOf(topic).only().getBody());

        DefaultMQPullConsumer reader = new DefaultMQPullConsumer(Cluster.unique("group"));
        reader.setDecodeDecompressBody(false);
        MessageExt stored = started(reader).pull(queue(topic, 0), "*", 0, 1).getMsgFoundList().get(0);
        assertNotEquals(0, stored.getSysFlag() & MessageSysFlag.COMPRESSED_FLAG);
        assertEquals(type, MessageSysFlag.getCompressionType(stored.getSysFlag()));
        assertTrue(stored.getBody().length < 50_000, "stored compressed");
    }

    @Test
    void a_body_of_almost_four_mebibytes_arrives() throws Exception {
        String topic = Cluster.topic(1);
        byte[] body = new byte[4 * MIB - 8192];
        new Random(1).nextBytes(body); // grows a little when the client compresses it
        producer().send(new Message(topic, body));
        assertArrayEquals(body, inboxOf(topic).only().getBody());
    }

    @Test
    void a_body_too_large_is_refused() throws Exception {
        String topic = Cluster.topic(1);
        DefaultMQProducer producer = new DefaultMQProducer(Cluster.unique("producers"));
        producer.setMaxMessageSize(16 * MIB);
        started(producer);
        byte[] body = new byte[4 * MIB + 1];
        new Random(1).nextBytes(body);
        MQBrokerException refused = assertThrows(MQBrokerException.class, () -> producer.send(new Message(topic, body)));
        assertEquals(ResponseCode.MESSAGE_ILLEGAL, refused.getResponseCode());
    }

    @Test
    void a_batch_lies_in_consecutive_places_of_one_queue() throws Exception {
        String topic = Cluster.topic(1);
        Message keyed = message(topic, "tag", "b");
        keyed.setKeys("the-key");
        keyed.putUserProperty("color", "green");
        DefaultMQProducer producer = producer();
        producer.send(message(topic, "before"));
        SendResult result = producer.send(List.of(message(topic, "a"), keyed, message(topic, "c")));

        assertEquals(SendStatus.SEND_OK, result.getSendStatus());
        assertEquals(1, result.getQueueOffset());
        assertEquals(3, result.getMsgId().split(",").length);
        assertEquals(3, result.getOffsetMsgId().split(",").length);
        DefaultMQPullConsumer reader = puller();
        PullResult pulled = reader.pull(queue(topic, 0), "*", 0, 32);
        assertEquals(List.of("before", "a", "b", "c"), Inbox.bodies(pulled.getMsgFoundList()));
        MessageExt second = pulled.getMsgFoundList().get(2);
        assertEquals(2, second.getQueueOffset());
        assertEquals("tag", second.getTags());
        assertEquals("the-key", second.getKeys());
        assertEquals("green", second.getUserProperty("color"));
        // The batch's own properties follow each element's in the record, so all are seen with the batch's unique key.
        assertEquals(pulled.getMsgFoundList().get(1).getMsgId(), second.getMsgId());
        assertFalse(List.of(result.getMsgId().split(",")).contains(second.getMsgId()));
    }

    @Test
    void a_selector_chooses_the_queue() throws Exception {
        String topic = Cluster.topic(4);
        SendResult result = producer().send(message(topic, "chosen"), (queues, message, arg) -> queues.stream()
            .filter(queue -> queue.getQueueId() == (Integer) arg).findFirst().orElseThrow(), 3);
        assertEquals(3, result.getMessageQueue().getQueueId());
    }

    @Test
    void sends_go_round_all_queues() throws Exception {
        String topic = Cluster.topic(4);
        DefaultMQProducer producer = producer();
        Set<Integer> used = new HashSet<>();
        for (int i = 0; i < 8; i++) {
            used.add(producer.send(message(topic, "round " + i)).getMessageQueue().getQueueId());
        }
        assertEquals(Set.of(0, 1, 2, 3), used);
    }

    @Test
    void an_unknown_queue_id_is_refused() throws Exception {
        String topic = Cluster.topic(2);
        DefaultMQProducer producer = producer();
        MQBrokerException refused = assertThrows(MQBrokerException.class,
            () -> producer.send(message(topic, "nowhere"), queue(topic, 2)));
        assertEquals(ResponseCode.INVALID_PARAMETER, refused.getResponseCode());
        assertTrue(refused.getErrorMessage().startsWith("request queueId[2] is illegal"), refused.getErrorMessage());
    }

    @Test
    void an_illegal_topic_name_is_refused_by_the_broker_too() throws Exception {
        assertEquals(ResponseCode.INVALID_PARAMETER, sendRaw("not/a/topic"));
        assertEquals(ResponseCode.INVALID_PARAMETER, sendRaw("t".repeat(128)));
        assertEquals(ResponseCode.SUCCESS, sendRaw(Cluster.unique("a|b%c_d-e")));
    }

    @Test
    void system_topics_are_closed_to_producers() throws Exception {
        assertEquals(ResponseCode.NO_PERMISSION, sendRaw("SCHEDULE_TOPIC_XXXX"));
        assertEquals(ResponseCode.NO_PERMISSION, sendRaw("RMQ_SYS_TRANS_HALF_TOPIC"));
        assertEquals(ResponseCode.NO_PERMISSION, sendRaw("RMQ_SYS_TRANS_OP_HALF_TOPIC"));
    }

    @Test
    void a_topic_without_write_permission_is_closed_to_producers() throws Exception {
        String topic = Cluster.unique("read-only");
        Cluster.create(new TopicConfig(topic, 1, 1, 4));
        DefaultMQProducer producer = producer();
        assertThrows(MQClientException.class, () -> producer.send(message(topic, "no")));
    }

    @Test
    void a_topic_is_not_created_from_an_unknown_template() throws Exception {
        SendMessageRequestHeader header = header(Cluster.unique("auto"));
        header.setDefaultTopic(Cluster.unique("no-template"));
        assertEquals(ResponseCode.TOPIC_NOT_EXIST,
            Cluster.ask(RequestCode.SEND_MESSAGE, header, "body".getBytes(UTF_8)).getCode());
        assertFalse(Cluster.routed(header.getTopic()));
    }

    @Test
    void an_unknown_request_code_is_answered_as_such() throws Exception {
        assertEquals(ResponseCode.REQUEST_CODE_NOT_SUPPORTED, Cluster.ask(9_999, null, null).getCode());
    }

    private static int sendRaw(String topic) throws Exception {
        return Cluster.ask(RequestCode.SEND_MESSAGE, header(topic), "body".getBytes(UTF_8)).getCode();
    }

    private static SendMessageRequestHeader header(String topic) {
        SendMessageRequestHeader header = new SendMessageRequestHeader();
        header.setProducerGroup(Cluster.unique("producers"));
        header.setTopic(topic);
        header.setDefaultTopic("TBW102");
        header.setDefaultTopicQueueNums(4);
        header.setQueueId(0);
        header.setSysFlag(0);
        header.setBornTimestamp(System.currentTimeMillis());
        header.setFlag(0);
        header.setProperties("");
        header.setReconsumeTimes(0);
        return header;
    }

    private static SendCallback completing(CompletableFuture<SendResult> done) {
        return new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                done.complete(result);
            }

            @Override
            public void onException(Throwable e) {
                done.completeExceptionally(e);
            }
        };
    }
}
