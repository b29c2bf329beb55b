package org.tenonmq.official;

import java.util.UUID;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.remoting.CommandCustomHeader;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.body.ClusterInfo;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The cluster under test, found through the name server that the system property {@code namesrv} names. */
final class Cluster {
    static final String NAMESRV = required("namesrv");
    /** One name for each run, so that a run may follow another on the same data. */
    private static final String RUN = UUID.randomUUID().toString().substring(0, 8);
    private static final AtomicInteger COUNTER = new AtomicInteger();
    private static final DefaultMQAdminExt ADMIN = startAdmin();

    private Cluster() {
    }

    static DefaultMQAdminExt admin() {
        return ADMIN;
    }

    /** A name that nothing else in any run has. */
    static String unique(String what) {
        return what + "-" + RUN + "-" + COUNTER.incrementAndGet();
    }

    static ClusterInfo info() throws Exception {
        return ADMIN.examineBrokerClusterInfo();
    }

    static String name() throws Exception {
        return info().getClusterAddrTable().keySet().iterator().next();
    }

    static String brokerName() throws Exception {
        return info().getBrokerAddrTable().keySet().iterator().next();
    }

    /** The broker's name once one is there. */
    static String brokerNameOrNull() {
        try {
            return brokerName();
        } catch (Exception e) {
            return null;
        }
    }

    static String brokerAddress() throws Exception {
        return info().getBrokerAddrTable().get(brokerName()).getBrokerAddrs().get(0L);
    }

    /** Creates a topic with as many read as write queues and waits until the name server has a route to it. */
    static String topic(int queues) throws Exception {
        String topic = unique("topic");
        create(new TopicConfig(topic, queues, queues, 6));
        return topic;
    }

    static void create(TopicConfig config) throws Exception {
        ADMIN.createAndUpdateTopicConfig(brokerAddress(), config);
        Await.until("a route to " + config.getTopicName(), () -> routed(config.getTopicName()));
    }

    static boolean routed(String topic) {
        try {
            return !ADMIN.examineTopicRouteInfo(topic).getQueueDatas().isEmpty();
        } catch (Exception e) {
            return false;
        }
    }

    /** The client's own request layer, for requests that its public face would refuse or never make. */
    static MQClientAPIImpl api() {
        return ADMIN.getDefaultMQAdminExtImpl().getMqClientInstance().getMQClientAPIImpl();
    }

    /** Sends one hand-made request to the broker and returns its answer, whatever the code. */
    static RemotingCommand ask(int code, CommandCustomHeader header, byte[] body) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, header);
        request.setBody(body);
        return api().getRemotingClient().invokeSync(brokerAddress(), request, 20_000);
    }

    static boolean binaryHeaders() {
        return "ROCKETMQ".equals(System.getProperty("rocketmq.serialize.type"));
    }

    private static DefaultMQAdminExt startAdmin() {
        DefaultMQAdminExt admin = new DefaultMQAdminExt(10_000);
        admin.setNamesrvAddr(NAMESRV);
        admin.setInstanceName(unique("admin"));
        try {
            admin.start();
        } catch (Exception e) {
            throw new IllegalStateException("admin client", e);
        }
        return admin;
    }

    private static String required(String property) {
        String value = System.getProperty(property);
        if (value == null || value.isEmpty()) {
            throw new IllegalStateException("system property " + property + " is not set");
        }
        return value;
    }
}
