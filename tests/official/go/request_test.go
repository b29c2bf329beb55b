package official

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func TestARequestGetsTheReplyMadeForIt(t *testing.T) {
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
			reply.Body = body                                    // which v2.1.2 forgets
			_, _ = replies.SendSync(context.Background(), reply) // refused while the broker does not know who asks
		}
		return consumer.ConsumeSuccess
	})
	eventually(t, "a heartbeat of the one who asks", func() bool {
		_, err := asks.Request(context.Background(), time.Second, message(topic, "who am I"))
		return err == nil
	})
	for i := range 3 {
		question := message(topic, fmt.Sprint("question ", i))
		reply := must[*primitive.Message](t)(asks.Request(context.Background(), 20*time.Second, question))
		same(t, []string{fmt.Sprint("answer to question ", i)}, []string{string(reply.Body)})
	}
}

func TestARequestNobodyAnswersTimesOut(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	if reply, err := newProducer(t).Request(context.Background(), 2*time.Second, message(topic, "question")); err == nil {
		t.Fatalf("%v replied", reply)
	}
}
