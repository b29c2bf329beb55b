package org.tenonmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.trace.TraceContext;
import org.apache.rocketmq.client.trace.TraceDataEncoder;
import org.apache.rocketmq.client.trace.TraceType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.topic.TopicValidator;
import org.junit.jupiter.api.Test;

/** Traces that clients leave of what they do; the broker has a topic for them with traceTopicEnable=true. */
class TraceTest extends Clients {
    @Test
    void the_ways_of_a_message_are_found_by_its_id() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        DefaultMQProducer producer = new DefaultMQProducer(Cluster.unique("producers"));
        producer.setEnableTrace(true);
        started(producer);
        DefaultMQPushConsumer consumer = consumer(group);
        consumer.setEnableTrace(true);
        consumer.subscribe(topic, "*");
        Inbox inbox = new Inbox();
        started(consumer, inbox);
        SendResult sent = producer.send(new Message(topic, "tag", "traced".getBytes(UTF_8)));
        inbox.awaitExactly("traced");
        Await.until(() -> "the send and the consumption, so far " + traces(sent.getMsgId()),
            () -> traces(sent.getMsgId()).containsAll(Set.of(TraceType.Pub, TraceType.SubBefore, TraceType.SubAfter)));
        for (TraceContext context : contexts(sent.getMsgId())) {
            assertEquals(context.getTraceType() == TraceType.Pub ? producer.getProducerGroup() : group, context.getGroupName());
        }
    }

    private static Set<TraceType> traces(String id) {
        Set<TraceType> types = new HashSet<>();
        contexts(id).forEach(context -> types.add(context.getTraceType()));
        return types;
    }

    private static List<TraceContext> contexts(String id) {
        List<TraceContext> contexts = new ArrayList<>();
        try {
            for (MessageExt record : Cluster.admin().queryMessage(TopicValidator.RMQ_SYS_TRACE_TOPIC, id, 64, 0, Long.MAX_VALUE)
                .getMessageList()) {
                for (TraceContext context : TraceDataEncoder.decoderFromTraceDataString(new String(record.getBody(), UTF_8))) {
                    if (context.getTraceBeans().get(0).getMsgId().equals(id)) {
                        contexts.add(context);
                    }
                }
            }
        } catch (MQClientException | InterruptedException notYet) {
            return contexts;
        }
        return contexts;
    }
}
