// LMDB: integer keys, MDB_APPEND (w4 and fill: MDB_NOSYNC).
#include "workload.hpp"

#include <lmdb.h>
#include <sys/stat.h>

namespace {

class LMDB : public Peer {
public:
    void open(const std::string &directory, bool sync) override {
        std::string path = directory + "/lmdb";
        mkdir(path.c_str(), 0755);
        require(mdb_env_create(&environment));
        require(mdb_env_set_mapsize(environment, 32ull << 30));
        require(mdb_env_open(environment, path.c_str(), sync ? 0 : MDB_NOSYNC, 0644));
        MDB_txn *transaction;
        MDB_stat statistics;
        require(mdb_txn_begin(environment, nullptr, 0, &transaction));
        require(mdb_dbi_open(transaction, nullptr, MDB_INTEGERKEY | MDB_CREATE, &database));
        require(mdb_stat(transaction, database, &statistics));
        last_key = statistics.ms_entries;
        require(mdb_txn_commit(transaction));
    }

    void append(const Record *records, size_t count, bool) override {
        MDB_txn *transaction;
        require(mdb_txn_begin(environment, nullptr, 0, &transaction));
        for (size_t number = 0; number < count; number++) {
            last_key++;
            MDB_val key{sizeof last_key, &last_key};
            MDB_val value{records[number]->size(), (void *)records[number]->data()};
            require(mdb_put(transaction, database, &key, &value, MDB_APPEND));
        }
        require(mdb_txn_commit(transaction));
    }

    // It has no checksums: one of our own stands in.
    uint64_t read_all() override {
        MDB_txn *transaction;
        MDB_cursor *cursor;
        require(mdb_txn_begin(environment, nullptr, MDB_RDONLY, &transaction));
        require(mdb_cursor_open(transaction, database, &cursor));
        MDB_val key, value;
        uint64_t count = 0;
        volatile uint32_t sum = 0;
        for (; mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0; count++)
            sum = sum ^ crc32c(value.mv_data, value.mv_size);
        mdb_cursor_close(cursor);
        mdb_txn_abort(transaction);
        return count;
    }

private:
    static void require(int code) {
        if (code) fail(mdb_strerror(code));
    }

    MDB_env *environment = nullptr;
    MDB_dbi database = 0;
    uint64_t last_key = 0;
};

} // namespace

int main(int argument_count, char **arguments) {
    return run_workload(argument_count, arguments, [](const std::string &) {
        return std::unique_ptr<Peer>(new LMDB);
    });
}
