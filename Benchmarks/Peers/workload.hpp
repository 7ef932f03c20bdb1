// The workloads, the same for every peer: records, clock, group commit, percentiles. After the
// project's shared drivers of peers, whose command line and meaning this keeps:
//
//   PROGRAM NAME WORKLOAD SIZE SECONDS|MIB DIR
//
//   w1   one writer, a sync for each record
//   w2   64 threads, each record acknowledged when it is durable
//   w2w  one thread, 64 records for each sync
//   w3   1,000 records for each sync
//   w4   no sync
//   fill SECONDS is MiB of records without sync; ends by killing itself
//   recover  opens what fill left
//   read     reads everything, each record with a CRC-32C, for the second time
//
// Prints records, seconds, and the 50th and 99th percentile of the latency in microseconds, of an
// append (w1, w2) or of a batch (w2w, w3, w4), separated by tabs.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

using Record = const std::string *;

struct Peer {
    virtual ~Peer() = default;
    // With `sync`, an append is durable when it returns.
    virtual void open(const std::string &directory, bool sync) = 0;
    // Appends records as one durable unit.
    virtual void append(const Record *records, size_t count, bool sync) = 0;
    // Whether many threads may append at once, and share syncs.
    virtual bool commits_groups() { return false; }
    // Reads and verifies everything; returns the number of records.
    virtual uint64_t read_all() = 0;
    // Whether opening already reads what a crash left; otherwise `recover` reads it.
    virtual bool recovers_by_opening() { return true; }
};

[[noreturn]] void fail(const std::string &what);
// The same with errno's text.
[[noreturn]] void fail_system(const char *what);

uint32_t crc32c(const void *bytes, size_t count);

using MakePeer = std::function<std::unique_ptr<Peer>(const std::string &name)>;
int run_workload(int argument_count, char **arguments, const MakePeer &make_peer);
