// RocksDB: its log and memory table only, for the write buffer is larger than any run.
#include "workload.hpp"

#include <atomic>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/transaction_log.h>
#include <rocksdb/write_batch.h>

namespace {

class RocksDB : public Peer {
public:
    void open(const std::string &directory, bool) override {
        rocksdb::Options options;
        options.create_if_missing = true;
        options.write_buffer_size = 6ull << 30;
        options.max_write_buffer_number = 4;
        options.disable_auto_compactions = true;
        options.avoid_flush_during_recovery = true;
        options.avoid_flush_during_shutdown = true;
        options.compression = rocksdb::kNoCompression;
        // Keeps the log's files for reading.
        options.WAL_ttl_seconds = 3600;
        require(rocksdb::DB::Open(options, directory + "/rocksdb", &database));
    }

    // 64 threads write; it groups them itself.
    bool commits_groups() override { return true; }

    void append(const Record *records, size_t count, bool sync) override {
        rocksdb::WriteOptions options;
        options.sync = sync;
        rocksdb::WriteBatch batch;
        uint64_t first = next_key.fetch_add(count);
        for (size_t number = 0; number < count; number++) {
            uint64_t key = __builtin_bswap64(first + number);
            require(batch.Put(rocksdb::Slice((const char *)&key, sizeof key), *records[number]));
        }
        require(database->Write(options, &batch));
    }

    // The log itself, whose checksums it verifies; not the memory table.
    uint64_t read_all() override {
        std::unique_ptr<rocksdb::TransactionLogIterator> batches;
        require(database->GetUpdatesSince(
            1, &batches, rocksdb::TransactionLogIterator::ReadOptions(true)));
        uint64_t count = 0;
        for (; batches->Valid(); batches->Next())
            count += (uint64_t)batches->GetBatch().writeBatchPtr->Count();
        return count;
    }

private:
    static void require(const rocksdb::Status &status) {
        if (!status.ok()) fail(status.ToString());
    }

    rocksdb::DB *database = nullptr;
    std::atomic<uint64_t> next_key{0};
};

} // namespace

int main(int argument_count, char **arguments) {
    return run_workload(argument_count, arguments, [](const std::string &) {
        return std::unique_ptr<Peer>(new RocksDB);
    });
}
