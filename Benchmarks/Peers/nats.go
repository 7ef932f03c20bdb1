// NATS JetStream with file storage, through its Go client: asynchronous publishes, so many of them on
// their way. The last argument is the server's address. Durable only when the server was told
// `sync_interval: always`.
package main

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const answerLimit = 30 * time.Second

var windows = map[string]int{"w1": 1, "w2": writerCount, "w4": 4096}

type publish struct {
	future nats.PubAckFuture
	start  time.Time
}

func main() {
	arguments := parseArguments()
	window, isKnown := windows[arguments.workload]
	if !isKnown {
		fail(fmt.Errorf("no workload %s with NATS", arguments.workload))
	}
	connection, err := nats.Connect(arguments.place)
	require(err)
	stream, err := connection.JetStream(
		nats.PublishAsyncMaxPending(window*2), nats.MaxWait(answerLimit))
	require(err)
	_, err = stream.AddStream(&nats.StreamConfig{
		Name: "LOG", Subjects: []string{"log"}, Storage: nats.FileStorage})
	require(err)
	records := makeRecords(arguments.size)
	ring := make([]publish, window)
	var latencies []float64
	begin := time.Now()
	end := begin.Add(arguments.duration())
	for count := 0; time.Now().Before(end); count++ {
		place := count % window
		if count >= window {
			latencies = append(latencies, wait(ring[place]))
		}
		start := time.Now()
		future, err := stream.PublishAsync("log", records[count%len(records)])
		require(err)
		ring[place] = publish{future, start}
	}
	report(len(latencies), time.Since(begin), latencies)
}

func wait(published publish) float64 {
	select {
	case <-published.future.Ok():
	case err := <-published.future.Err():
		fail(err)
	case <-time.After(answerLimit):
		fail(fmt.Errorf("the server does not answer"))
	}
	return microseconds(time.Since(published.start))
}
