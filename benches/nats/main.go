// Command publish keeps messages in flight to a stream of NATS JetStream with file storage, as `load send` does to a
// broker: each connection has a fixed number of publishes outstanding, and each acknowledgement makes room for the next.
// It prints one line of JSON with the fields that `load --json` prints.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const stream = "load"

var (
	url         = flag.String("url", "nats://127.0.0.1:4222", "the server")
	connections = flag.Int("connections", 8, "connections")
	inFlight    = flag.Int("in-flight", 32, "publishes outstanding on each connection")
	size        = flag.Int("size", 1024, "bytes of each message")
	warmUp      = flag.Int("warm-up", 2, "seconds before measuring")
	seconds     = flag.Int("seconds", 10, "seconds of measuring")
	pid         = flag.Int("pid", 0, "process of the server, to measure its CPU time and memory")
)

// measuring is set while answers count.
var measuring atomic.Bool

// publisher is one connection. Its answers arrive in one goroutine.
type publisher struct {
	connection *nats.Conn
	subject    string
	inbox      string
	body       []byte
	sentAt     []time.Time
	failure    atomic.Pointer[string]

	lock      sync.Mutex // an answer may still be on its way when the run is over
	latencies []int32    // microseconds
}

func main() {
	log.SetFlags(0)
	flag.Parse()
	if err := run(); err != nil {
		log.Fatalf("publish: %v", err)
	}
}

func run() error {
	admin, err := nats.Connect(*url)
	if err != nil {
		return err
	}
	defer admin.Close()
	jetStream, err := admin.JetStream()
	if err != nil {
		return err
	}
	_ = jetStream.DeleteStream(stream) // of an earlier run; the first has none
	config := nats.StreamConfig{Name: stream, Subjects: []string{stream + ".*"}, Storage: nats.FileStorage}
	if _, err = jetStream.AddStream(&config); err != nil {
		return err
	}
	publishers := make([]*publisher, *connections)
	for index := range publishers {
		if publishers[index], err = start(index); err != nil {
			return err
		}
	}
	time.Sleep(time.Duration(*warmUp) * time.Second)
	cpuBefore, err := cpuMicros(*pid)
	if err != nil {
		return err
	}
	began := time.Now()
	measuring.Store(true)
	time.Sleep(time.Duration(*seconds) * time.Second)
	measuring.Store(false)
	elapsed := time.Since(began)
	cpuAfter, err := cpuMicros(*pid)
	if err != nil {
		return err
	}
	memory, err := privateBytes(*pid)
	if err != nil {
		return err
	}
	var latencies []int32
	for _, publisher := range publishers {
		publisher.connection.Close()
		if text := publisher.failure.Load(); text != nil {
			return fmt.Errorf("%s", *text)
		}
		publisher.lock.Lock()
		latencies = append(latencies, publisher.latencies...)
		publisher.lock.Unlock()
	}
	_ = jetStream.DeleteStream(stream)
	return report(latencies, elapsed, cpuAfter-cpuBefore, memory)
}

func start(index int) (*publisher, error) {
	connection, err := nats.Connect(*url)
	if err != nil {
		return nil, err
	}
	p := &publisher{
		connection: connection,
		subject:    stream + "." + strconv.Itoa(index),
		inbox:      nats.NewInbox(),
		body:       bytes.Repeat([]byte("a"), *size),
		sentAt:     make([]time.Time, *inFlight),
		latencies:  make([]int32, 0, 1<<20),
	}
	var first sync.WaitGroup // answers wait until all first publishes are out
	first.Add(1)
	_, err = connection.Subscribe(p.inbox+".*", func(answer *nats.Msg) {
		first.Wait()
		p.answered(answer)
	})
	if err != nil {
		return nil, err
	}
	for slot := range p.sentAt {
		p.publish(slot)
	}
	first.Done()
	return p, nil
}

func (p *publisher) publish(slot int) {
	p.sentAt[slot] = time.Now()
	if err := p.connection.PublishRequest(p.subject, p.inbox+"."+strconv.Itoa(slot), p.body); err != nil {
		p.fail(err.Error())
	}
}

func (p *publisher) answered(answer *nats.Msg) {
	// An acknowledgement is {"stream":"load","seq":N}; whatever else comes says what went wrong.
	if !bytes.Contains(answer.Data, []byte(`"seq":`)) || bytes.Contains(answer.Data, []byte(`"error"`)) {
		p.fail("not acknowledged: " + string(answer.Data))
		return
	}
	slot, err := strconv.Atoi(answer.Subject[strings.LastIndexByte(answer.Subject, '.')+1:])
	if err != nil || slot >= len(p.sentAt) {
		p.fail("an answer to nothing: " + answer.Subject)
		return
	}
	if measuring.Load() {
		p.lock.Lock()
		p.latencies = append(p.latencies, int32(time.Since(p.sentAt[slot]).Microseconds()))
		p.lock.Unlock()
	}
	p.publish(slot)
}

func (p *publisher) fail(text string) {
	p.failure.CompareAndSwap(nil, &text)
}

func report(latencies []int32, elapsed time.Duration, cpuMicros int64, memory int64) error {
	if len(latencies) == 0 {
		return fmt.Errorf("nothing was acknowledged")
	}
	slices.Sort(latencies)
	at := func(quantile float64) int32 { return latencies[int(quantile*float64(len(latencies)-1))] }
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"workload": "send",
		"parameters": map[string]any{
			"connections": *connections, "in_flight": *inFlight, "size": *size, "seconds": *seconds,
		},
		"rate":          float64(len(latencies)) / elapsed.Seconds(),
		"cpu_us_each":   float64(cpuMicros) / float64(len(latencies)),
		"latency_us":    map[string]int32{"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1)},
		"private_bytes": memory,
	})
}
