package org.tenonmq.official;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.junit.jupiter.api.Test;

class RequestReplyTest extends Clients {
    @Test
    void a_request_gets_the_reply_made_for_it() throws Exception {
        String topic = answered();
        DefaultMQProducer producer = producer();
        for (int i = 0; i < 3; i++) {
            Message reply = request(producer, message(topic, "question " + i), 10_000).get(15, TimeUnit.SECONDS);
            assertEquals("answer to question " + i, new String(reply.getBody(), UTF_8));
        }
    }

    @Test
    void a_request_nobody_answers_times_out() throws Exception {
        CompletableFuture<Message> never = request(producer(), message(Cluster.topic(1), "question"), 2_000);
        ExecutionException timeout = assertThrows(ExecutionException.class, () -> never.get(15, TimeUnit.SECONDS));
        assertInstanceOf(RequestTimeoutException.class, timeout.getCause());
    }

    /**
     * The asynchronous request, as the synchronous one of client 5.3.3 gives up once its message is sent. This one then
     * calls back with no reply at first.
     */
    private static CompletableFuture<Message> request(DefaultMQProducer producer, Message question, long timeout) throws Exception {
        CompletableFuture<Message> done = new CompletableFuture<>();
        producer.request(question, new RequestCallback() {
            @Override
            public void onSuccess(Message message) {
                if (message != null) {
                    done.complete(message);
                }
            }

            @Override
            public void onException(Throwable e) {
                done.completeExceptionally(e);
            }
        }, timeout);
        return done;
    }

    /** A topic whose consumer answers every request. */
    private String answered() throws Exception {
        String topic = Cluster.topic(1);
        DefaultMQProducer replies = producer();
        DefaultMQPushConsumer consumer = consumer(Cluster.unique("group"));
        consumer.subscribe(topic, "*");
        started(consumer, (MessageListenerConcurrently) (batch, context) -> {
            for (MessageExt question : batch) {
                try {
                    byte[] body = ("answer to " + new String(question.getBody(), UTF_8)).getBytes(UTF_8);
                    replies.send(MessageUtil.createReplyMessage(question, body));
                } catch (Exception e) {
                                        return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        return topic;
    }
}
