package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.junit.jupiter.api.Tag;
import org.junit.jupiter.api.Test;

/** Pops in the order of each queue; their request codes do not fit into binary headers. */
@Tag("json-only")
class PopOrderTest extends Clients {
    @Test
    void a_queue_gives_nothing_more_until_all_that_was_popped_is_acknowledged() throws Exception {
        String topic = Cluster.topic(1);
        String group = Pop.group();
        sendMany(producer(), queue(topic, 0), "step", 4);
        PopResult first = Pop.inOrder(topic, group, 2, 20_000, "one");
        assertEquals(List.of("step 0", "step 1"), Inbox.bodies(first.getMsgFoundList()));
        assertEquals(AckStatus.OK, Pop.ack(topic, group, first.getMsgFoundList().get(0)));
        assertEquals(PopStatus.POLLING_NOT_FOUND, Pop.inOrder(topic, group, 2, 20_000, "two").getPopStatus());
        assertEquals(AckStatus.OK, Pop.ack(topic, group, first.getMsgFoundList().get(1)));
        PopResult second = Pop.inOrder(topic, group, 2, 20_000, "two");
        assertEquals(List.of("step 2", "step 3"), Inbox.bodies(second.getMsgFoundList()));
    }

    @Test
    void a_repeated_attempt_gets_the_same_messages() throws Exception {
        String topic = Cluster.topic(1);
        String group = Pop.group();
        sendMany(producer(), queue(topic, 0), "step", 3);
        assertEquals(List.of("step 0", "step 1"), Inbox.bodies(Pop.inOrder(topic, group, 2, 20_000, "one").getMsgFoundList()));
        assertEquals(List.of("step 0", "step 1"), Inbox.bodies(Pop.inOrder(topic, group, 2, 20_000, "one").getMsgFoundList()));
    }

    @Test
    void what_was_not_acknowledged_comes_again_before_what_follows() throws Exception {
        String topic = Cluster.topic(1);
        String group = Pop.group();
        sendMany(producer(), queue(topic, 0), "step", 3);
        PopResult first = Pop.inOrder(topic, group, 2, 2_000, "one");
        assertEquals(AckStatus.OK, Pop.ack(topic, group, first.getMsgFoundList().get(0)));
        PopResult[] again = new PopResult[1];
        Await.until("step 1 again", () -> {
            again[0] = Pop.inOrder(topic, group, 2, 20_000, "two");
            return again[0].getPopStatus() == PopStatus.FOUND;
        });
        assertEquals(List.of("step 1", "step 2"), Inbox.bodies(again[0].getMsgFoundList()));
        assertEquals(1, again[0].getMsgFoundList().get(0).getReconsumeTimes());
    }
}
