package official

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/admin"
)

func TestATopicIsCreatedListedAndDeleted(t *testing.T) {
	t.Parallel()
	a := newAdmin(t)
	topic := newTopic(t, 3)
	listed := func() bool {
		list := must[*admin.TopicList](t)(a.FetchAllTopicList(context.Background()))
		return slices.Contains(list.TopicList, topic)
	}
	if !listed() {
		t.Fatal("not listed")
	}
	check(t, a.DeleteTopic(context.Background(), admin.WithTopicDelete(topic), admin.WithBrokerAddrDelete(broker)))
	eventually(t, "its end", func() bool { return !listed() })
}

func TestAGroupThatConsumesIsListed(t *testing.T) {
	t.Parallel()
	topic := newTopic(t, 1)
	group := unique("group")
	into := &inbox{}
	consume(t, group, topic, "*", into)
	into.expect(t, sendMany(t, newProducer(t), topic, "message", 1)...)
	groups := must[*admin.SubscriptionGroupWrapper](t)(
		newAdmin(t).GetAllSubscriptionGroup(context.Background(), broker, 5*time.Second))
	if _, there := groups.SubscriptionGroupTable[group]; !there {
		t.Fatalf("%s is not listed", group)
	}
}
