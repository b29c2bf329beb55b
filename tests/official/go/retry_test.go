package official

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func TestWhatWasConsumedInVainComesAgain(t *testing.T) {
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

func TestAfterTheLastRetryAMessageIsADeadLetter(t *testing.T) {
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
