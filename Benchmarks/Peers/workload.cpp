#include "workload.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <nmmintrin.h>
#include <thread>
#include <unistd.h>

namespace {

constexpr int writer_count = 64;

double now_seconds() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

// Records of exactly `size` bytes, JSON-like: half words, half random hexadecimal digits.
std::vector<std::string> make_records(size_t size) {
    static const char *const words[] = {"order",     "payment", "customer", "shipped",
                                        "pending",   "warehouse", "refund", "invoice",
                                        "created",   "updated", "region",   "priority"};
    uint64_t state = 0x9E3779B97F4A7C15ull ^ size;
    auto random = [&] {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
    };
    std::vector<std::string> records;
    size_t count = std::max<size_t>(64, (4u << 20) / size);
    for (size_t number = 0; number < count; number++) {
        std::string record = "{\"id\":" + std::to_string(number) +
                             ",\"ts\":" + std::to_string(1700000000000ull + random() % 1000000000ull);
        while (record.size() < size) {
            char member[96];
            snprintf(member, sizeof member, ",\"%s\":\"%s %s\",\"k%llu\":\"%016llx\"",
                     words[random() % 12], words[random() % 12], words[random() % 12],
                     (unsigned long long)(random() % 97), (unsigned long long)random());
            record += member;
        }
        record.resize(size);
        record[size - 1] = '}';
        records.push_back(record);
    }
    return records;
}

double percentile(std::vector<float> &values, double part) {
    if (values.empty()) return 0;
    size_t place = std::min(values.size() - 1, (size_t)(part * (double)values.size()));
    std::nth_element(values.begin(), values.begin() + (long)place, values.end());
    return values[place];
}

// Ends without closing: what was not synced stays as a crash of the process leaves it.
[[noreturn]] void report(uint64_t records, double seconds, std::vector<float> latencies) {
    double middle = percentile(latencies, 0.5);
    double high = percentile(latencies, 0.99);
    printf("%llu\t%.6f\t%.1f\t%.1f\n", (unsigned long long)records, seconds, middle, high);
    fflush(stdout);
    _exit(0);
}

// Group commit for peers that have none: one of the waiting threads writes for all.
class Group {
public:
    struct Request {
        Record record = nullptr;
        bool is_done = false;
        std::condition_variable moved;
    };

    explicit Group(Peer &peer) : peer(peer) {}

    void append(Request &request) {
        std::unique_lock<std::mutex> lock(mutex);
        request.is_done = false;
        pending.push_back(&request);
        request.moved.wait(lock, [&] { return request.is_done || !is_led; });
        if (request.is_done) return;
        is_led = true;
        std::vector<Request *> batch;
        batch.swap(pending);
        lock.unlock();
        std::vector<Record> records;
        for (auto *one : batch) records.push_back(one->record);
        peer.append(records.data(), records.size(), true);
        lock.lock();
        for (auto *one : batch) {
            one->is_done = true;
            if (one != &request) one->moved.notify_one();
        }
        is_led = false;
        if (!pending.empty()) pending[0]->moved.notify_one();
    }

private:
    Peer &peer;
    std::mutex mutex;
    std::vector<Request *> pending;
    bool is_led = false;
};

[[noreturn]] void append_from_threads(Peer &peer, const std::vector<std::string> &records,
                                      double seconds) {
    double begin = now_seconds(), end = begin + seconds;
    Group group(peer);
    std::mutex mutex;
    std::vector<float> latencies;
    std::vector<std::thread> threads;
    for (int number = 0; number < writer_count; number++) {
        threads.emplace_back([&, number] {
            std::vector<float> own;
            own.reserve(1 << 16);
            Group::Request request;
            size_t next = (size_t)number * 131;
            for (double start = now_seconds(); start <= end;) {
                Record record = &records[next++ % records.size()];
                if (peer.commits_groups()) {
                    peer.append(&record, 1, true);
                } else {
                    request.record = record;
                    group.append(request);
                }
                double stop = now_seconds();
                own.push_back((float)((stop - start) * 1e6));
                start = stop;
            }
            std::lock_guard<std::mutex> lock(mutex);
            latencies.insert(latencies.end(), own.begin(), own.end());
        });
    }
    for (auto &thread : threads) thread.join();
    report(latencies.size(), now_seconds() - begin, latencies);
}

[[noreturn]] void append_batches(Peer &peer, const std::vector<std::string> &records, size_t batch,
                                 bool sync, double seconds) {
    std::vector<Record> taken(batch);
    std::vector<float> latencies;
    latencies.reserve(4 << 20);
    size_t next = 0;
    uint64_t count = 0;
    double begin = now_seconds(), end = begin + seconds, start = begin;
    while (start < end) {
        for (auto &record : taken) record = &records[next++ % records.size()];
        peer.append(taken.data(), batch, sync);
        double stop = now_seconds();
        latencies.push_back((float)((stop - start) * 1e6));
        start = stop;
        count += batch;
    }
    report(count, start - begin, latencies);
}

[[noreturn]] void fill(Peer &peer, const std::vector<std::string> &records, uint64_t mebibytes) {
    uint64_t wanted = (mebibytes << 20) / records[0].size(), count = 0;
    std::vector<Record> taken(100);
    size_t next = 0;
    while (count < wanted) {
        for (auto &record : taken) record = &records[next++ % records.size()];
        peer.append(taken.data(), taken.size(), false);
        count += taken.size();
    }
    printf("%llu\t0\t0\t0\n", (unsigned long long)count);
    fflush(stdout);
    kill(getpid(), SIGKILL);
    _exit(1);
}

[[noreturn]] void recover(Peer &peer, const std::string &directory) {
    double begin = now_seconds();
    peer.open(directory, true);
    uint64_t count = peer.recovers_by_opening() ? 0 : peer.read_all();
    report(count, now_seconds() - begin, {});
}

[[noreturn]] void read(Peer &peer, const std::string &directory) {
    peer.open(directory, true);
    // The first pass brings it into the page cache.
    peer.read_all();
    double begin = now_seconds();
    uint64_t count = peer.read_all();
    report(count, now_seconds() - begin, {});
}

} // namespace

void fail(const std::string &what) {
    fprintf(stderr, "%s\n", what.c_str());
    exit(1);
}

void fail_system(const char *what) { fail(std::string(what) + ": " + strerror(errno)); }

uint32_t crc32c(const void *bytes, size_t count) {
    uint64_t sum = 0xFFFFFFFFu;
    auto *next = (const unsigned char *)bytes;
    for (; count >= 8; count -= 8, next += 8) {
        uint64_t word;
        memcpy(&word, next, 8);
        sum = _mm_crc32_u64(sum, word);
    }
    for (; count > 0; count--) sum = _mm_crc32_u8((uint32_t)sum, *next++);
    return ~(uint32_t)sum;
}

int run_workload(int argument_count, char **arguments, const MakePeer &make_peer) {
    std::unique_ptr<Peer> peer;
    if (argument_count != 6 || !(peer = make_peer(arguments[1]))) {
        fprintf(stderr, "usage: %s NAME WORKLOAD SIZE SECONDS|MIB DIR\n", arguments[0]);
        return 2;
    }
    std::string workload = arguments[2], directory = arguments[5];
    auto size = (size_t)atol(arguments[3]);
    double amount = atof(arguments[4]);
    if (workload == "recover") recover(*peer, directory);
    if (workload == "read") read(*peer, directory);
    auto records = make_records(size);
    peer->open(directory, workload != "w4" && workload != "fill");
    if (workload == "w1") append_batches(*peer, records, 1, true, amount);
    if (workload == "w2") append_from_threads(*peer, records, amount);
    if (workload == "w2w") append_batches(*peer, records, writer_count, true, amount);
    if (workload == "w3") append_batches(*peer, records, 1000, true, amount);
    if (workload == "w4") append_batches(*peer, records, 1, false, amount);
    if (workload == "fill") fill(*peer, records, (uint64_t)amount);
    fprintf(stderr, "no workload %s\n", workload.c_str());
    return 2;
}
