package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** SQL92 expressions over message properties; needs enablePropertyFilter=true. */
class SqlFilterTest extends Clients {
    private static final Map<String, Map<String, String>> MESSAGES = Map.of(
        "one", Map.of("n", "1", "color", "red"),
        "two", Map.of("n", "2", "color", "green", "flag", "true"),
        "ten", Map.of("n", "10", "color", "dark green"),
        "none", Map.of());

    @ParameterizedTest
    @CsvSource(delimiter = ':', value = {
        "n > 1 : ten,two",
        "n BETWEEN 1 AND 2 : one,two",
        "color = 'red' OR n = 10 : one,ten",
        "color IN ('red', 'green') AND n <> 1 : two",
        "color IS NULL : none",
        "color IS NOT NULL AND NOT (n >= 2) : one",
        "flag = TRUE : two",
        "color CONTAINS 'green' : ten,two",
        "color STARTSWITH 'dark' : ten",
        "TAGS = 'T' AND n <= 2 : one,two",
    })
    void a_push_consumer_gets_what_its_expression_says(String expression, String expected) throws Exception {
        String topic = filled();
        DefaultMQPushConsumer consumer = consumer(Cluster.unique("group"));
        consumer.subscribe(topic, MessageSelector.bySql(expression));
        Inbox inbox = new Inbox();
        started(consumer, inbox);
        inbox.awaitExactly(expected.split(","));
    }

    @Test
    void an_expression_that_is_none_is_refused_at_the_start() throws Exception {
        String topic = Cluster.topic(1);
        DefaultMQPushConsumer consumer = consumer(Cluster.unique("group"));
        consumer.subscribe(topic, MessageSelector.bySql("n >"));
        MQClientException refused = assertThrows(MQClientException.class, () -> started(consumer, new Inbox()));
        assertEquals(23, refused.getResponseCode(), refused.getMessage());
    }

    @Test
    void a_pull_may_carry_an_expression() throws Exception {
        String topic = filled();
        DefaultMQPullConsumer consumer = puller();
        consumer.pull(queue(topic, 0), "*", 0, 1);
        PullResult result = Await.answer("a heartbeat, which tells the client the broker's version", () -> {
            try {
                return consumer.pull(queue(topic, 0), MessageSelector.bySql("n = 2"), 0, 32);
            } catch (MQClientException notYet) {
                return null;
            }
        });
        assertEquals(List.of("two"), Inbox.bodies(result.getMsgFoundList()));
        assertEquals(4, result.getNextBeginOffset());
    }

    @Test
    void a_lite_consumer_polls_what_its_expression_says() throws Exception {
        String topic = filled();
        DefaultLitePullConsumer consumer = lite(Cluster.unique("group"));
        consumer.subscribe(topic, MessageSelector.bySql("n >= 2"));
        consumer.start();
        Inbox inbox = new Inbox();
        Await.until("both", () -> {
            inbox.add(consumer.poll());
            return inbox.size() >= 2;
        });
        inbox.awaitExactly("two", "ten");
        Await.stays("no other", 1_000, () -> consumer.poll().isEmpty());
    }

    private String filled() throws Exception {
        String topic = Cluster.topic(1);
        DefaultMQProducer producer = producer();
        for (String body : List.of("one", "two", "ten", "none")) {
            Message message = message(topic, "T", body);
            MESSAGES.get(body).forEach(message::putUserProperty);
            producer.send(message);
        }
        return topic;
    }
}
