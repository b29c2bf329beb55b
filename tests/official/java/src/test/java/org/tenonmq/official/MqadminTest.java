package org.tenonmq.official;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.tools.command.MQAdminStartup;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.ResourceLock;

/** The command line as an operator types it, each command in a process of its own. */
@ResourceLock("mqadmin") // one process at a time is enough for small machines
class MqadminTest extends Clients {
    @Test
    void cluster_list() throws Exception {
        String line = line(mqadmin("clusterList"), Cluster.brokerAddress());
        assertTrue(line.startsWith(Cluster.name()), line);
        assertTrue(line.contains(Cluster.brokerName()) && line.contains("V5_3_3"), line);
    }

    @Test
    void broker_status() throws Exception {
        List<String> out = mqadmin("brokerStatus", "-b", Cluster.brokerAddress());
        assertTrue(line(out, "brokerVersionDesc").endsWith(": V5_3_3"));
        assertTrue(line(out, "commitLogMaxOffset").matches(".*: \\d+"));
    }

    @Test
    void a_topics_life_from_update_topic_to_delete_topic() throws Exception {
        String topic = Cluster.unique("topic");
        List<String> created = mqadmin("updateTopic", "-c", Cluster.name(), "-t", topic, "-r", "3", "-w", "3");
        line(created, "create topic to " + Cluster.brokerAddress() + " success");
        Await.until("a route", () -> Cluster.routed(topic));
        line(mqadmin("topicList"), topic);

        String route = String.join("", mqadmin("topicRoute", "-t", topic)).replaceAll("\\s", "");
        assertTrue(route.contains("\"readQueueNums\":3"), route);
        assertTrue(route.contains("0:\"" + Cluster.brokerAddress() + "\""), route);

        sendMany(producer(), queue(topic, 2), "message", 4);
        List<String> status = mqadmin("topicStatus", "-t", topic);
        assertTrue(line(status, Cluster.brokerName() + " +2 ").matches(Cluster.brokerName() + " +2 +0 +4 .*"));

        line(mqadmin("deleteTopic", "-c", Cluster.name(), "-t", topic), "delete topic [" + topic + "] from NameServer success");
        assertFalse(Cluster.routed(topic));
    }

    @Test
    void update_sub_group_and_consumer_progress() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        line(mqadmin("updateSubGroup", "-c", Cluster.name(), "-g", group, "-r", "2"),
            "create subscription group to " + Cluster.brokerAddress() + " success");
        assertEquals(2, Cluster.admin().examineSubscriptionGroupConfig(Cluster.brokerAddress(), group).getRetryMaxTimes());

        Inbox inbox = new Inbox();
        consume(group, topic, "*", inbox);
        inbox.awaitExactly(sendMany(producer(), topic, "message", 5));
        closeAll(); // leaving commits the offset
        List<String> progress = mqadmin("consumerProgress", "-g", group);
        String line = line(progress, topic);
        assertTrue(line.matches(topic + " +" + Cluster.brokerName() + " +0 +5 +5 +0 .*"), line);
        line(progress, "Consume Diff Total: 0");
    }

    @Test
    void query_message_by_id_by_key_and_by_unique_key() throws Exception {
        String topic = Cluster.topic(1);
        String key = Cluster.unique("key");
        Message message = message(topic, "tag", "sought");
        message.setKeys(key);
        SendResult sent = producer().send(message);
        Await.until("the index", () -> {
            try {
                return Cluster.admin().queryMessage(topic, key, 1, 0, Long.MAX_VALUE) != null;
            } catch (Exception notYet) {
                return false;
            }
        });
        List<String> byId = mqadmin("queryMsgById", "-t", topic, "-i", sent.getOffsetMsgId());
        assertTrue(line(byId, "Keys:").contains(key));
        assertTrue(line(byId, "OffsetID:").contains(sent.getOffsetMsgId()));
        List<String> byKey = mqadmin("queryMsgByKey", "-t", topic, "-k", key);
        assertTrue(line(byKey, sent.getMsgId()).matches(sent.getMsgId() + " +0 +0 *"));
        List<String> byUniqueKey = mqadmin("queryMsgByUniqueKey", "-t", topic, "-i", sent.getMsgId());
        assertTrue(line(byUniqueKey, "Keys:").contains(key));
    }

    @Test
    void stats_all_shows_what_a_group_has_left_of_a_topic() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        Inbox inbox = new Inbox();
        consume(group, topic, "*", inbox);
        inbox.awaitExactly(sendMany(producer(), topic, "done", 4));
        closeAll();
        sendMany(producer(), topic, "left", 2);
        String line = line(mqadmin("statsAll", "-t", topic), topic);
        assertTrue(line.matches(topic + " +" + group + " +2 .*"), line);
    }

    @Test
    void reset_offset_by_time() throws Exception {
        String topic = Cluster.topic(1);
        String group = Cluster.unique("group");
        Inbox inbox = new Inbox();
        consume(group, topic, "*", inbox);
        inbox.awaitExactly(sendMany(producer(), topic, "message", 3));
        closeAll();
        line(mqadmin("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0"), Cluster.brokerName());
        inboxAgain(group, topic).awaitCount(3);
    }

    private Inbox inboxAgain(String group, String topic) throws Exception {
        Inbox inbox = new Inbox();
        consume(group, topic, "*", inbox);
        return inbox;
    }

    /** Runs one command against the cluster under test and returns what it printed. */
    static List<String> mqadmin(String... arguments) throws Exception {
        File out = File.createTempFile("mqadmin", ".out");
        List<String> command = new ArrayList<>(List.of(System.getProperty("java.home") + "/bin/java", "-Xmx128m", "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1", "-Duser.home=" + System.getProperty("user.home"),
            "-Dlog.file=" + System.getProperty("log.file") + ".mqadmin",
            "-Drocketmq.serialize.type=" + (Cluster.binaryHeaders() ? "ROCKETMQ" : "JSON"),
            "-cp", System.getProperty("java.class.path"), MQAdminStartup.class.getName()));
        Collections.addAll(command, arguments);
        Collections.addAll(command, "-n", Cluster.NAMESRV);
        Process process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(out).start();
        try {
            assertTrue(process.waitFor(40, TimeUnit.SECONDS), "mqadmin " + String.join(" ", arguments) + " does not end");
            return Files.readAllLines(Path.of(out.getPath()));
        } finally {
            process.destroyForcibly();
            Files.delete(out.toPath());
        }
    }

    /** The first line that matches the text (runs of `+` after a blank as in a pattern), or a failure showing all. */
    private static String line(List<String> output, String text) {
        Pattern pattern = Pattern.compile(Pattern.quote(text).replace(" +", "\\E +\\Q"));
        return output.stream().filter(line -> pattern.matcher(line).find()).findFirst()
            .orElseThrow(() -> new AssertionError("no `" + text + "` in:\n" + String.join("\n", output)));
    }
}
