package official

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// decider answers by the text of a message and keeps every question of the broker.
type decider struct {
	execute, check func(body string) primitive.LocalTransactionState
	mutex          sync.Mutex
	questions      []string
}

func (d *decider) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	return d.execute(string(m.Body))
}

func (d *decider) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	d.questions = append(d.questions, string(m.Body))
	return d.check(string(m.Body))
}

func (d *decider) asked() []string {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return append([]string(nil), d.questions...)
}

func always(state primitive.LocalTransactionState) func(string) primitive.LocalTransactionState {
	return func(string) primitive.LocalTransactionState { return state }
}

func newTransactionProducer(t *testing.T, d *decider) rocketmq.TransactionProducer {
	t.Helper()
	p := must[rocketmq.TransactionProducer](t)(rocketmq.NewTransactionProducer(d,
		producer.WithNsResolver(resolver()), producer.WithGroupName(unique("orders")),
		producer.WithInstanceName(unique("client")), producer.WithSendMsgTimeout(10*time.Second)))
	check(t, p.Start())
	t.Cleanup(func() { _ = p.Shutdown() })
	return p
}

func sendInTransaction(t *testing.T, p rocketmq.TransactionProducer, m *primitive.Message) *primitive.TransactionSendResult {
	t.Helper()
	return must[*primitive.TransactionSendResult](t)(p.SendMessageInTransaction(context.Background(), m))
}

func TestACommittedMessageIsSeenAndARolledBackOneIsNot(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	d := &decider{check: always(primitive.UnknowState), execute: func(body string) primitive.LocalTransactionState {
		if body[0] == 'y' {
			return primitive.CommitMessageState
		}
		return primitive.RollbackMessageState
	}}
	p := newTransactionProducer(t, d)
	var committed []string
	for i := range 5 {
		sendInTransaction(t, p, message(topic, fmt.Sprint("yes ", i)))
		sendInTransaction(t, p, message(topic, fmt.Sprint("no ", i)))
		committed = append(committed, fmt.Sprint("yes ", i))
	}
	into := inboxOf(t, topic)
	into.expect(t, committed...)
	stays(t, "decided and never asked about", 5*time.Second, func() bool { return len(d.asked()) == 0 })
	into.expect(t, committed...)
}

func TestAnUnknownTransactionIsAskedAboutAndThenCommitted(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	d := &decider{execute: always(primitive.UnknowState), check: always(primitive.CommitMessageState)}
	sendInTransaction(t, newTransactionProducer(t, d), message(topic, "slow order"))
	inboxOf(t, topic).expect(t, "slow order")
	same(t, []string{"slow order"}, d.asked())
}

func TestAnUnknownTransactionIsAskedAboutAndThenRolledBack(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	d := &decider{execute: always(primitive.UnknowState), check: always(primitive.RollbackMessageState)}
	sendInTransaction(t, newTransactionProducer(t, d), message(topic, "failed order"))
	into := inboxOf(t, topic)
	eventually(t, "the question", func() bool { return len(d.asked()) > 0 })
	stays(t, "rolled back, no second question", 5*time.Second, func() bool { return len(d.asked()) == 1 && len(into.all()) == 0 })
}
