// SQLite: WAL mode, synchronous=FULL (w4 and fill: OFF), a record for each transaction.
#include "workload.hpp"

#include <sqlite3.h>

namespace {

class SQLite : public Peer {
public:
    void open(const std::string &directory, bool sync) override {
        if (sqlite3_open((directory + "/log.db").c_str(), &database)) fail("cannot open");
        execute("PRAGMA journal_mode=WAL");
        execute(sync ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF");
        execute("CREATE TABLE IF NOT EXISTS log(id INTEGER PRIMARY KEY, record BLOB)");
        sqlite3_prepare_v2(database, "INSERT INTO log(record) VALUES(?)", -1, &insert, nullptr);
    }

    void append(const Record *records, size_t count, bool) override {
        if (count > 1) execute("BEGIN");
        for (size_t number = 0; number < count; number++) {
            const std::string &record = *records[number];
            sqlite3_bind_blob(insert, 1, record.data(), (int)record.size(), SQLITE_STATIC);
            if (sqlite3_step(insert) != SQLITE_DONE) fail(sqlite3_errmsg(database));
            sqlite3_reset(insert);
        }
        if (count > 1) execute("COMMIT");
    }

    // It has no checksums: one of our own stands in.
    uint64_t read_all() override {
        sqlite3_stmt *query;
        sqlite3_prepare_v2(database, "SELECT record FROM log ORDER BY id", -1, &query, nullptr);
        uint64_t count = 0;
        volatile uint32_t sum = 0;
        for (; sqlite3_step(query) == SQLITE_ROW; count++)
            sum = sum ^ crc32c(sqlite3_column_blob(query, 0), (size_t)sqlite3_column_bytes(query, 0));
        sqlite3_finalize(query);
        return count;
    }

private:
    void execute(const char *statement) {
        if (sqlite3_exec(database, statement, nullptr, nullptr, nullptr))
            fail(std::string(statement) + ": " + sqlite3_errmsg(database));
    }

    sqlite3 *database = nullptr;
    sqlite3_stmt *insert = nullptr;
};

} // namespace

int main(int argument_count, char **arguments) {
    return run_workload(argument_count, arguments, [](const std::string &) {
        return std::unique_ptr<Peer>(new SQLite);
    });
}
