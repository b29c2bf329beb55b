package official

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func TestASynchronousSendAnswersWhereTheMessageLies(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	p := newProducer(t)
	first := send(t, p, message(topic, "first"))
	second := send(t, p, message(topic, "second"))
	if first.QueueOffset != 0 || second.QueueOffset != 1 {
		t.Fatalf("queue offsets %d and %d", first.QueueOffset, second.QueueOffset)
	}
	if first.MsgID == "" || first.OffsetMsgID == "" || first.OffsetMsgID == second.OffsetMsgID {
		t.Fatalf("ids %q and %q", first.OffsetMsgID, second.OffsetMsgID)
	}
}

func TestAnAsynchronousSendCallsBack(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	p := newProducer(t)
	done := make(chan error, 1)
	check(t, p.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
		if err == nil && result.Status != primitive.SendOK {
			err = errors.New("not stored")
		}
		done <- err
	}, message(topic, "async")))
	select {
	case err := <-done:
		check(t, err)
	case <-time.After(limit):
		t.Fatal("no call back")
	}
	inboxOf(t, topic).expect(t, "async")
}

func TestAOnewaySendArrives(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	check(t, newProducer(t).SendOneWay(context.Background(), message(topic, "no answer wanted")))
	inboxOf(t, topic).expect(t, "no answer wanted")
}

func TestABatchArrivesInOrder(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	result := send(t, newProducer(t), message(topic, "a"), message(topic, "b"), message(topic, "c"))
	if result.QueueOffset != 0 {
		t.Fatalf("queue offset %d", result.QueueOffset)
	}
	into := inboxOf(t, topic)
	into.expect(t, "a", "b", "c")
	for _, m := range into.all() {
		if want := map[string]int64{"a": 0, "b": 1, "c": 2}[string(m.Body)]; m.QueueOffset != want {
			t.Fatalf("%s at %d", m.Body, m.QueueOffset)
		}
	}
}

func TestTheFirstSendCreatesAnUnknownTopic(t *testing.T) {
	t.Parallel()
	topic := unique("auto")
	send(t, newProducer(t), message(topic, "first"))
	a := newAdmin(t)
	eventually(t, "a route", func() bool { return len(queuesOf(a, topic)) > 0 })
	inboxOf(t, topic).expect(t, "first")
}

func TestEverythingInAMessageArrivesAsItWasSent(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	sent := message(topic, "körper\x00").WithTag("tag").WithKeys([]string{"key-1", "key-2"})
	sent.Flag = 7
	sent.WithProperty("ünicode", "wörter 文字")
	result := send(t, newProducer(t), sent)
	into := inboxOf(t, topic)
	into.expect(t, "körper\x00")
	got := into.all()[0]
	same(t, []string{"tag", "key-1 key-2", "wörter 文字", result.MsgID, result.OffsetMsgID},
		[]string{got.GetTags(), got.GetKeys(), got.GetProperty("ünicode"), got.MsgId, got.OffsetMsgId})
	if got.Flag != 7 {
		t.Fatalf("flag %d", got.Flag)
	}
}

func TestALargeBodyTravelsCompressedAndArrivesWhole(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	body := bytes.Repeat([]byte("0123456789"), 50_000)
	send(t, newProducer(t), primitive.NewMessage(topic, body))
	into := inboxOf(t, topic)
	into.expect(t, string(body))
	if size := into.all()[0].StoreSize; int(size) > len(body)/2 {
		t.Fatalf("stored in %d bytes", size)
	}
}

func TestADelayedMessageComesWhenItsLevelSays(t *testing.T) {
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
