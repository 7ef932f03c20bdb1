// The workloads for peers in Go: the command line and the meaning of workload.hpp.
package main

import (
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
)

const writerCount = 64

type arguments struct {
	workload string
	size     int
	// Seconds, or MiB for fill.
	amount float64
	place  string
}

func parseArguments() arguments {
	if len(os.Args) != 6 {
		fail(fmt.Errorf("usage: %s NAME WORKLOAD SIZE SECONDS|MIB DIR", os.Args[0]))
	}
	size, err := strconv.Atoi(os.Args[3])
	require(err)
	amount, err := strconv.ParseFloat(os.Args[4], 64)
	require(err)
	return arguments{os.Args[2], size, amount, os.Args[5]}
}

func (a arguments) duration() time.Duration { return time.Duration(a.amount * 1e9) }

// Records that fill writes.
func (a arguments) fillCount() int { return int(a.amount) * (1 << 20) / a.size }

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func require(err error) {
	if err != nil {
		fail(err)
	}
}

// Records of exactly size bytes, JSON-like: half words, half random hexadecimal digits.
func makeRecords(size int) [][]byte {
	words := strings.Fields(
		"order payment customer shipped pending warehouse refund invoice created updated region priority")
	random := rand.New(rand.NewSource(int64(size)))
	word := func() string { return words[random.Intn(len(words))] }
	count := (4 << 20) / size
	if count < 64 {
		count = 64
	}
	records := make([][]byte, count)
	for number := range records {
		record := []byte(fmt.Sprintf(`{"id":%d,"ts":%d`, number, 1700000000000+random.Int63n(1000000000)))
		for len(record) < size {
			record = append(record, fmt.Sprintf(
				`,"%s":"%s %s","k%d":"%016x"`, word(), word(), word(), random.Intn(97), random.Uint64())...)
		}
		record = record[:size]
		record[size-1] = '}'
		records[number] = record
	}
	return records
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// Prints the result; the process ends without closing anything.
func report(count int, elapsed time.Duration, latencies []float64) {
	sort.Float64s(latencies)
	percentile := func(part float64) float64 {
		if len(latencies) == 0 {
			return 0
		}
		return latencies[int(part*float64(len(latencies)-1))]
	}
	fmt.Printf("%d\t%.6f\t%.1f\t%.1f\n", count, elapsed.Seconds(), percentile(0.5), percentile(0.99))
	os.Stdout.Sync()
}
