package official

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func TestEveryMessageArrivesOnce(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 4)
	before := sendMany(t, newProducer(t), topic, "before", 50)
	into := inboxOf(t, topic)
	into.expect(t, before...)
	into.expect(t, append(before, sendMany(t, newProducer(t), topic, "live", 50)...)...)
}

func TestATagFilterLetsThroughItsTagsOnly(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	p := newProducer(t)
	var wanted []string
	for i := range 5 {
		for _, tag := range []string{"A", "B", "C"} {
			send(t, p, message(topic, fmt.Sprint(tag, i)).WithTag(tag))
		}
		wanted = append(wanted, fmt.Sprint("A", i), fmt.Sprint("C", i))
	}
	into := &inbox{}
	consume(t, unique("group"), topic, "A || C", into)
	into.expect(t, wanted...)
}

func TestInBroadcastEveryMemberGetsEverything(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 2)
	group := unique("group")
	one, other := &inbox{}, &inbox{}
	consume(t, group, topic, "*", one, consumer.WithConsumerModel(consumer.BroadCasting))
	consume(t, group, topic, "*", other, consumer.WithConsumerModel(consumer.BroadCasting))
	sent := sendMany(t, newProducer(t), topic, "to everyone", 10)
	one.expect(t, sent...)
	other.expect(t, sent...)
}

func TestARestartedGroupGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	group := unique("group")
	p := newProducer(t)
	before, after := &inbox{}, &inbox{}
	c := consume(t, group, topic, "*", before)
	before.expect(t, sendMany(t, p, topic, "before", 10)...)
	check(t, c.Shutdown())
	missed := sendMany(t, p, topic, "while away", 10)
	consume(t, group, topic, "*", after)
	after.expect(t, missed...)
}

func TestAnOrderlyConsumerKeepsTheOrderOfItsQueue(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	into := &inbox{}
	consume(t, unique("group"), topic, "*", into, consumer.WithConsumerOrder(true))
	sent := sendMany(t, newProducer(t), topic, "step", 50)
	eventually(t, "all", func() bool { return len(into.all()) >= len(sent) })
	same(t, sent, into.bodies())
}

func TestAPullFromAnOffsetReturnsWhatLiesThere(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	sent := sendMany(t, newProducer(t), topic, "message", 10)
	c := newPullConsumer(t, topic)
	queue := queuesOf(newAdmin(t), topic)[0]
	result := must[*primitive.PullResult](t)(c.PullFrom(context.Background(), queue, 4, 3))
	same(t, sent[4:7], bodies(result.GetMessageExts()))
	if result.NextBeginOffset != 7 || result.MinOffset != 0 || result.MaxOffset != 10 {
		t.Fatalf("next %d, %d to %d", result.NextBeginOffset, result.MinOffset, result.MaxOffset)
	}
	end := must[*primitive.PullResult](t)(c.PullFrom(context.Background(), queue, 10, 3))
	if end.Status != primitive.PullNoNewMsg {
		t.Fatalf("status %v at the end", end.Status)
	}
}

func TestAPullConsumerPollsWhatItSubscribedTo(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 2)
	sent := sendMany(t, newProducer(t), topic, "message", 20)
	c := newPullConsumer(t, topic)
	into := &inbox{}
	eventually(t, "all", func() bool {
		request, err := c.Poll(context.Background(), time.Second)
		if err == nil {
			_, _ = into.take(context.Background(), request.GetMsgList()...)
			c.ACK(context.Background(), request, consumer.ConsumeSuccess)
		}
		return len(into.all()) >= len(sent)
	})
	into.expect(t, sent...)
}

func newPullConsumer(t *testing.T, topic string) rocketmq.PullConsumer {
	t.Helper()
	c := must[rocketmq.PullConsumer](t)(rocketmq.NewPullConsumer(
		consumer.WithNsResolver(resolver()), consumer.WithGroupName(unique("group")),
		consumer.WithInstance(unique("client")), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)))
	check(t, c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}))
	check(t, c.Start())
	t.Cleanup(func() { _ = c.Shutdown() })
	return c
}

func TestASQLExpressionFilters(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	p := newProducer(t)
	for i := range 5 {
		m := message(topic, fmt.Sprint(i))
		m.WithProperty("n", fmt.Sprint(i))
		send(t, p, m)
	}
	into := &inbox{}
	consumeSQL := consumer.MessageSelector{Type: consumer.SQL92, Expression: "n BETWEEN 2 AND 3"}
	listen(t, topic, consumeSQL, func(messages ...*primitive.MessageExt) consumer.ConsumeResult {
		result, _ := into.take(context.Background(), messages...)
		return result
	})
	into.expect(t, "2", "3")
}

func TestASuspendedQueueGivesTheSameMessageAgainBeforeTheNext(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	into := &inbox{}
	var refusals atomic.Int64
	listen(t, topic, everything, func(messages ...*primitive.MessageExt) consumer.ConsumeResult {
		if string(messages[0].Body) == "step 1" && refusals.Add(1) <= 2 {
			return consumer.SuspendCurrentQueueAMoment
		}
		result, _ := into.take(context.Background(), messages...)
		return result
	}, consumer.WithConsumerOrder(true), consumer.WithConsumeMessageBatchMaxSize(1))
	sent := sendMany(t, newProducer(t), topic, "step", 4)
	eventually(t, "all", func() bool { return len(into.all()) >= len(sent) })
	same(t, sent, into.bodies())
	if refusals.Load() != 3 {
		t.Fatalf("%d deliveries of step 1", refusals.Load())
	}
}
