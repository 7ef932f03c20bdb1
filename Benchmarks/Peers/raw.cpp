// What the disk allows: a file of [length, CRC-32C, payload], one pwrite for each unit.
//
//   raw-grow    a file that grows, fdatasync
//   raw-zeroed  a file of zeros written before, WAL_PREPARE_MIB (512) large, wrapping around; fdatasync
//   raw-direct  the same with O_DIRECT|O_DSYNC, units padded to 4 KiB
//   raw-dsync   a file that grows, O_DSYNC
#include "workload.hpp"

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <unistd.h>

namespace {

constexpr size_t block_bytes = 4096, direct_bytes = 64 << 20, chunk_bytes = 1 << 20;

class RawFile : public Peer {
public:
    enum class Kind { grow, zeroed, direct, dsync };

    explicit RawFile(Kind kind) : kind(kind) {}

    void open(const std::string &directory, bool) override {
        path = directory + "/raw.log";
        bool existed = access(path.c_str(), F_OK) == 0;
        file = ::open(path.c_str(), O_RDWR | O_CREAT, 0644);
        if (file < 0) fail_system("open");
        if (!existed && (kind == Kind::zeroed || kind == Kind::direct)) write_zeros();
        if (kind == Kind::direct) {
            reopen(O_DIRECT | O_DSYNC);
            void *memory;
            if (posix_memalign(&memory, block_bytes, direct_bytes)) fail("no memory");
            aligned = (char *)memory;
        }
        if (kind == Kind::dsync) reopen(O_DSYNC);
    }

    void append(const Record *records, size_t count, bool sync) override {
        unit.clear();
        for (size_t number = 0; number < count; number++) {
            const std::string &record = *records[number];
            uint32_t header[2] = {(uint32_t)record.size(), crc32c(record.data(), record.size())};
            unit.append((const char *)header, sizeof header);
            unit.append(record);
        }
        const char *bytes = unit.data();
        size_t byte_count = unit.size();
        if (kind == Kind::direct) {
            size_t padded = (byte_count + block_bytes - 1) & ~(block_bytes - 1);
            memcpy(aligned, bytes, byte_count);
            memset(aligned + byte_count, 0, padded - byte_count);
            bytes = aligned;
            byte_count = padded;
        }
        if (capacity > 0 && position + byte_count > capacity) position = 0;
        if (pwrite(file, bytes, byte_count, (off_t)position) != (ssize_t)byte_count)
            fail_system("pwrite");
        position += byte_count;
        bool is_synced = kind == Kind::direct || kind == Kind::dsync;
        if (sync && !is_synced && fdatasync(file)) fail_system("fdatasync");
    }

    bool recovers_by_opening() override { return false; }

    uint64_t read_all() override {
        std::vector<char> buffer(4 << 20);
        uint64_t place = 0, count = 0;
        size_t held = 0;
        for (;;) {
            ssize_t got = pread(file, buffer.data() + held, buffer.size() - held, (off_t)place);
            if (got <= 0) return count;
            place += (uint64_t)got;
            held += (size_t)got;
            size_t start = 0;
            while (start + 8 <= held) {
                uint32_t header[2];
                memcpy(header, &buffer[start], 8);
                if (header[0] == 0 || start + 8 + header[0] > held) break;
                if (crc32c(&buffer[start + 8], header[0]) != header[1]) fail("a record is damaged");
                start += 8 + header[0];
                count++;
            }
            memmove(buffer.data(), &buffer[start], held - start);
            held -= start;
        }
    }

private:
    void write_zeros() {
        const char *mebibytes = getenv("WAL_PREPARE_MIB");
        capacity = (mebibytes ? strtoull(mebibytes, nullptr, 10) : 512) << 20;
        std::string zeros(chunk_bytes, 0);
        for (uint64_t place = 0; place < capacity; place += zeros.size())
            if (pwrite(file, zeros.data(), zeros.size(), (off_t)place) != (ssize_t)zeros.size())
                fail_system("pwrite");
        if (fsync(file)) fail_system("fsync");
    }

    void reopen(int flags) {
        ::close(file);
        file = ::open(path.c_str(), O_RDWR | flags);
        if (file < 0) fail_system("open");
    }

    Kind kind;
    std::string path, unit;
    int file = -1;
    uint64_t position = 0, capacity = 0;
    char *aligned = nullptr;
};

} // namespace

int main(int argument_count, char **arguments) {
    return run_workload(argument_count, arguments, [](const std::string &name) {
        static const std::map<std::string, RawFile::Kind> kinds = {
            {"raw-grow", RawFile::Kind::grow},
            {"raw-zeroed", RawFile::Kind::zeroed},
            {"raw-direct", RawFile::Kind::direct},
            {"raw-dsync", RawFile::Kind::dsync}};
        auto found = kinds.find(name);
        return found == kinds.end() ? nullptr : std::unique_ptr<Peer>(new RawFile(found->second));
    });
}
