// Package official lets Apache's Go client judge a broker, found through the environment: NAMESRV and BROKER, both
// host:port.
package official

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// limit bounds every wait; it is above the client's own periods together (rebalance 20 s, heartbeat and routes 30 s).
const limit = 75 * time.Second

var (
	namesrv = required("NAMESRV")
	broker  = required("BROKER")
	run     = fmt.Sprintf("%x", time.Now().UnixNano())
	counter atomic.Int64
)

func TestMain(m *testing.M) {
	rlog.SetLogLevel("error")
	os.Exit(m.Run())
}

func required(name string) string {
	value := os.Getenv(name)
	if value == "" {
		panic(name + " is not set")
	}
	return value
}

// unique is a name that nothing else in any run has.
func unique(what string) string {
	return fmt.Sprintf("go-%s-%s-%d", what, run, counter.Add(1))
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("still waiting for " + what)
		}
	}
}

// stays fails if the condition stops holding within the time: for what must not happen.
func stays(t *testing.T, what string, time_ time.Duration, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time_); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if !holds() {
			t.Fatal("no longer: " + what)
		}
	}
}

func resolver() primitive.NsResolver {
	return primitive.NewPassthroughResolver([]string{namesrv})
}

func newAdmin(t *testing.T) admin.Admin {
	a := must[admin.Admin](t)(admin.NewAdmin(admin.WithResolver(resolver())))
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// newTopic creates a topic and waits until the name server has a route to it.
func newTopic(t *testing.T, queues int) string {
	t.Helper()
	topic := unique("topic")
	a := newAdmin(t)
	check(t, a.CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(broker),
		admin.WithReadQueueNums(queues), admin.WithWriteQueueNums(queues)))
	eventually(t, "a route", func() bool { return len(queuesOf(a, topic)) == queues })
	return topic
}

func queuesOf(a admin.Admin, topic string) []*primitive.MessageQueue {
	queues, err := a.FetchPublishMessageQueues(context.Background(), topic)
	if err != nil {
		return nil
	}
	return queues
}

func newProducer(t *testing.T, options ...producer.Option) rocketmq.Producer {
	t.Helper()
	options = append([]producer.Option{
		producer.WithNsResolver(resolver()), producer.WithGroupName(unique("producers")),
		producer.WithInstanceName(unique("client")), producer.WithSendMsgTimeout(10 * time.Second),
	}, options...)
	p := must[rocketmq.Producer](t)(rocketmq.NewProducer(options...))
	check(t, p.Start())
	t.Cleanup(func() { _ = p.Shutdown() })
	return p
}

func message(topic, body string) *primitive.Message {
	return primitive.NewMessage(topic, []byte(body))
}

func send(t *testing.T, p rocketmq.Producer, messages ...*primitive.Message) *primitive.SendResult {
	t.Helper()
	result := must[*primitive.SendResult](t)(p.SendSync(context.Background(), messages...))
	if result.Status != primitive.SendOK {
		t.Fatalf("send status %v", result.Status)
	}
	return result
}

// sendMany sends `prefix 0` to `prefix count-1` and returns these bodies.
func sendMany(t *testing.T, p rocketmq.Producer, topic, prefix string, count int) []string {
	t.Helper()
	var bodies []string
	for i := range count {
		bodies = append(bodies, fmt.Sprintf("%s %d", prefix, i))
		send(t, p, message(topic, bodies[i]))
	}
	return bodies
}

// inbox keeps what a push consumer is given.
type inbox struct {
	mutex    sync.Mutex
	messages []*primitive.MessageExt
}

func (i *inbox) take(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.messages = append(i.messages, messages...)
	return consumer.ConsumeSuccess, nil
}

func (i *inbox) all() []*primitive.MessageExt {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return append([]*primitive.MessageExt(nil), i.messages...)
}

func (i *inbox) bodies() []string { return bodies(i.all()) }

func bodies(messages []*primitive.MessageExt) []string {
	var texts []string
	for _, m := range messages {
		texts = append(texts, string(m.Body))
	}
	return texts
}

// expect waits until these bodies, in any order, are all there, and fails on any other.
func (i *inbox) expect(t *testing.T, expected ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages", len(expected)), func() bool { return len(i.all()) >= len(expected) })
	same(t, sorted(expected), sorted(i.bodies()))
}

func sorted(texts []string) []string {
	list := append([]string(nil), texts...)
	sort.Strings(list)
	return list
}

func same(t *testing.T, expected, got []string) {
	t.Helper()
	if strings.Join(expected, "\n") != strings.Join(got, "\n") {
		t.Fatalf("expected %q, got %q", expected, got)
	}
}

// consume starts a push consumer that reads a topic from its first message.
func consume(t *testing.T, group, topic, filter string, into *inbox, options ...consumer.Option) rocketmq.PushConsumer {
	t.Helper()
	options = append([]consumer.Option{
		consumer.WithNsResolver(resolver()), consumer.WithGroupName(group), consumer.WithInstance(unique("client")),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, options...)
	c := must[rocketmq.PushConsumer](t)(rocketmq.NewPushConsumer(options...))
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: filter}
	check(t, c.Subscribe(topic, selector, into.take))
	check(t, c.Start())
	t.Cleanup(func() { _ = c.Shutdown() })
	return c
}

func inboxOf(t *testing.T, topic string) *inbox {
	t.Helper()
	into := &inbox{}
	consume(t, unique("group"), topic, "*", into)
	return into
}

// listen starts a push consumer with a listener of its own.
func listen(t *testing.T, topic string, selector consumer.MessageSelector,
	listener func(...*primitive.MessageExt) consumer.ConsumeResult, options ...consumer.Option) string {
	t.Helper()
	group := unique("group")
	options = append([]consumer.Option{
		consumer.WithNsResolver(resolver()), consumer.WithGroupName(group), consumer.WithInstance(unique("client")),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, options...)
	c := must[rocketmq.PushConsumer](t)(rocketmq.NewPushConsumer(options...))
	check(t, c.Subscribe(topic, selector, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		return listener(messages...), nil
	}))
	check(t, c.Start())
	t.Cleanup(func() { _ = c.Shutdown() })
	return group
}

var everything = consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}
