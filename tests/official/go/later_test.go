//go:build later

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

func TestLaterWhatWasConsumedInVainComesAgain(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	var deliveries, times atomic.Int64
	listen(t, topic, everything, func(messages ...*primitive.MessageExt) consumer.ConsumeResult {
		times.Store(int64(messages[0].ReconsumeTimes))
		if deliveries.Add(1) < 3 {
			return consumer.ConsumeRetryLater
		}
		return consumer.ConsumeSuccess
	})
	send(t, newProducer(t), message(topic, "difficult"))
	eventually(t, "three deliveries", func() bool { return deliveries.Load() == 3 })
	if times.Load() != 2 {
		t.Fatalf("reconsume times %d", times.Load())
	}
	stays(t, "no fourth", 3*time.Second, func() bool { return deliveries.Load() == 3 })
}

func TestLaterAfterTheLastRetryAMessageIsADeadLetter(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	var deliveries atomic.Int64
	group := listen(t, topic, everything, func(...*primitive.MessageExt) consumer.ConsumeResult {
		deliveries.Add(1)
		return consumer.ConsumeRetryLater
	}, consumer.WithMaxReconsumeTimes(1))
	send(t, newProducer(t), message(topic, "impossible"))
	a := newAdmin(t)
	eventually(t, "a dead-letter topic", func() bool { return len(queuesOf(a, "%DLQ%"+group)) == 1 })
	inboxOf(t, "%DLQ%"+group).expect(t, "impossible")
	if deliveries.Load() != 2 {
		t.Fatalf("%d deliveries", deliveries.Load())
	}
}

func TestLaterADelayedMessageComesWhenItsLevelSays(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	into := inboxOf(t, topic)
	p := newProducer(t)
	send(t, p, message(topic, "at once"))
	into.expect(t, "at once")
	sent := time.Now()
	send(t, p, message(topic, "later").WithDelayTimeLevel(5)) // three seconds
	into.expect(t, "at once", "later")
	if took := time.Since(sent); took < 2900*time.Millisecond || took > 6*time.Second {
		t.Fatalf("after %v", took)
	}
}

func TestLaterASQLExpressionFilters(t *testing.T) {
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

func TestLaterASuspendedQueueGivesTheSameMessageAgainBeforeTheNext(t *testing.T) {
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

func TestLaterARequestGetsTheReplyMadeForIt(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	replies, asks := newProducer(t), newProducer(t)
	listen(t, topic, everything, func(messages ...*primitive.MessageExt) consumer.ConsumeResult {
		for _, question := range messages {
			body := []byte("answer to " + string(question.Body))
			reply, err := consumer.CreateReplyMessage(question, body)
			if err != nil {
				return consumer.ConsumeRetryLater
			}
			reply.Body = body // which v2.1.2 forgets
			if _, err = replies.SendSync(context.Background(), reply); err != nil {
				return consumer.ConsumeRetryLater
			}
		}
		return consumer.ConsumeSuccess
	})
	for i := range 3 {
		question := message(topic, fmt.Sprint("question ", i))
		reply := must[*primitive.Message](t)(asks.Request(context.Background(), 20*time.Second, question))
		same(t, []string{fmt.Sprint("answer to question ", i)}, []string{string(reply.Body)})
	}
}

func TestLaterARequestNobodyAnswersTimesOut(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	if reply, err := newProducer(t).Request(context.Background(), 2*time.Second, message(topic, "question")); err == nil {
		t.Fatalf("%v replied", reply)
	}
}
