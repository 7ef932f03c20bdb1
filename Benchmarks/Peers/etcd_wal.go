// etcd's write-ahead log. It has no group commit of its own: in w2 one goroutine puts what 64 others
// proposed into one Save, as etcd's raft loop does.
package main

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/etcd/raft/raftpb"
	"go.etcd.io/etcd/wal"
	"go.etcd.io/etcd/wal/walpb"
	"go.uber.org/zap"
)

func main() {
	arguments := parseArguments()
	directory := filepath.Join(arguments.place, "etcd")
	if arguments.workload == "read" || arguments.workload == "recover" {
		readAll(directory, arguments.workload == "read")
		return
	}
	log, err := wal.Create(zap.NewNop(), directory, []byte("m"))
	require(err)
	if arguments.workload == "w4" || arguments.workload == "fill" {
		log.SetUnsafeNoFsync()
	}
	index := uint64(0)
	save := func(batch [][]byte) {
		entries := make([]raftpb.Entry, len(batch))
		for number, record := range batch {
			index++
			entries[number] = raftpb.Entry{Term: 1, Index: index, Data: record}
		}
		require(log.Save(raftpb.HardState{Term: 1, Commit: index}, entries))
	}
	records := makeRecords(arguments.size)
	switch arguments.workload {
	case "fill":
		fill(arguments, records, save)
	case "w2":
		appendFromGoroutines(arguments, records, save)
	case "w3":
		appendBatches(arguments, records, 1000, save)
	default:
		appendBatches(arguments, records, 1, save)
	}
}

// Opening reads everything, so both do the same; a read is timed when the files are cached.
func readAll(directory string, twice bool) {
	start := time.Now()
	count := open(directory)
	if twice {
		start = time.Now()
		count = open(directory)
	}
	report(count, time.Since(start), nil)
}

func open(directory string) int {
	log, err := wal.Open(zap.NewNop(), directory, walpb.Snapshot{})
	require(err)
	_, _, entries, err := log.ReadAll()
	require(err)
	require(log.Close())
	return len(entries)
}

func fill(arguments arguments, records [][]byte, save func([][]byte)) {
	batch := make([][]byte, 100)
	count := 0
	for count < arguments.fillCount() {
		for number := range batch {
			batch[number] = records[(count+number)%len(records)]
		}
		save(batch)
		count += len(batch)
	}
	report(count, 0, nil)
	require(syscall.Kill(os.Getpid(), syscall.SIGKILL))
	time.Sleep(time.Minute)
}

func appendBatches(arguments arguments, records [][]byte, size int, save func([][]byte)) {
	batch := make([][]byte, size)
	var latencies []float64
	begin := time.Now()
	end := begin.Add(arguments.duration())
	count := 0
	start := begin
	for start.Before(end) {
		for number := range batch {
			batch[number] = records[(count+number)%len(records)]
		}
		save(batch)
		stop := time.Now()
		latencies = append(latencies, microseconds(stop.Sub(start)))
		start = stop
		count += size
	}
	report(count, start.Sub(begin), latencies)
}

type proposal struct {
	record []byte
	done   chan struct{}
}

func appendFromGoroutines(arguments arguments, records [][]byte, save func([][]byte)) {
	proposals := make(chan proposal, writerCount)
	begin := time.Now()
	end := begin.Add(arguments.duration())
	var mutex sync.Mutex
	var latencies []float64
	var writers sync.WaitGroup
	for writer := 0; writer < writerCount; writer++ {
		writers.Add(1)
		go func(next int) {
			defer writers.Done()
			var own []float64
			done := make(chan struct{}, 1)
			for start := time.Now(); !start.After(end); start = time.Now() {
				proposals <- proposal{records[next%len(records)], done}
				<-done
				next++
				own = append(own, microseconds(time.Since(start)))
			}
			mutex.Lock()
			latencies = append(latencies, own...)
			mutex.Unlock()
		}(writer * 131)
	}
	go func() { writers.Wait(); close(proposals) }()
	for first := range proposals {
		taken := []proposal{first}
	drain:
		for len(taken) < writerCount {
			select {
			case next, isOpen := <-proposals:
				if !isOpen {
					break drain
				}
				taken = append(taken, next)
			default:
				break drain
			}
		}
		batch := make([][]byte, len(taken))
		for number, one := range taken {
			batch[number] = one.record
		}
		save(batch)
		for _, one := range taken {
			one.done <- struct{}{}
		}
	}
	report(len(latencies), time.Since(begin), latencies)
}
