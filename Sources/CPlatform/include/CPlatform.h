// What the engine needs from the machine and cannot say in Swift: CRC32C and probes of filters with instructions
// that not every processor has, and the Linux calls that Swift's Glibc module hides behind _GNU_SOURCE.
#pragma once
#include <stddef.h>
#include <stdint.h>

// CRC-32C (Castagnoli, reflected 0x82F63B78, initial and final inversion): "123456789" gives
// 0xE3069283. `crc` is the value of the bytes before, 0 to begin.
uint32_t bsfg_crc32c(uint32_t crc, const void *bytes, size_t count);

// The value of one run of bytes and a second one behind it, from the values of both.
uint32_t bsfg_crc32c_joined(uint32_t first, uint32_t second, size_t second_count);

// The same value by table, for tests of the hardware path.
uint32_t bsfg_crc32c_portable(uint32_t crc, const void *bytes, size_t count);

// True when `count` bytes are all zero.
int bsfg_all_zero(const void *bytes, size_t count);

// open(2) with O_DIRECT added; -1 and errno where the file system refuses it.
int bsfg_open_direct(const char *path);

// The device's block sizes for the file system that holds `path`, in bytes; 0 when unknown.
uint32_t bsfg_physical_block_bytes(const char *path);
uint32_t bsfg_logical_block_bytes(const char *path);

// open(2) for reading and writing past the page cache (O_DIRECT); -1 and errno where the file system
// refuses it.
int bsfg_open_direct_writable(const char *path);

// open(2) for reading and writing past the page cache, each write durable when it returns
// (O_DIRECT|O_DSYNC); -1 and errno where the file system refuses it.
int bsfg_open_direct_synchronous(const char *path);

// Begins to bring written bytes of a file to the device; the other waits for it. Nothing becomes durable by it.
void bsfg_begin_write_back(int descriptor, uint64_t position, size_t count);
void bsfg_write_back(int descriptor, uint64_t position, size_t count);

// A text attribute of the block device below a path, such as `queue/write_cache`, without its newline,
// or its name for "". Returns the number of bytes, 0 when there is no such device or attribute.
size_t bsfg_device_attribute(const char *path, const char *attribute, char *text, size_t capacity);

// Writes `count` bytes at a position while files may not grow beyond `limit_bytes` (RLIMIT_FSIZE), and
// then once more what is left. Returns what the first write returned; *second_error is the errno of
// the second one, 0 when it succeeded. For a program that does nothing else meanwhile.
int64_t bsfg_write_limited(const char *path, uint64_t limit_bytes, const void *bytes, size_t count,
                           uint64_t position, int *second_error);

// Sleeps while *word == expected, at most `timeout_nanoseconds` (negative: for ever). Wakes early
// without reason at times, as futex(2) does.
void bsfg_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout_nanoseconds);
void bsfg_futex_wake_all(const uint32_t *word);

void bsfg_thread_name(const char *name);

// Asks the scheduler for turns of 0.1 ms for the calling thread: one that wakes at the end of a write is
// let in at once, where a core that is busy otherwise keeps it waiting for a turn of milliseconds.
void bsfg_thread_yields_soon(void);

// The user id at the other end of a unix socket, or -1.
int64_t bsfg_peer_user_id(int descriptor);

// Loads and stores with release and acquire order on a word that a futex watches.
uint32_t bsfg_load_acquire(const uint32_t *word);
void bsfg_store_release(uint32_t *word, uint32_t value);

// Whether the kernel reports the wall clock as synchronised (STA_UNSYNC of adjtimex(2) is clear): 1,
// or 0 when it does not or cannot be asked.
int bsfg_clock_synchronised(void);

// From now on a block of at least so many bytes is returned to the system as soon as it is freed. Left alone, malloc
// raises that size to the largest block it has seen, and large buffers of changing sizes leave holes for ever.
// All threads share two heaps: with one each, what is free in one no other thread uses.
void bsfg_return_large_blocks(size_t bytes);

// Asks for the cache line at an address, which need not be valid, and goes on.
static inline void bsfg_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

// A key as the filters of key runs see it: `place` below 2^32 chooses the block, and of `bits` six choose one
// of each word.
struct bsfg_key_hash {
    uint64_t place, bits;
};

// Blocks of 64 bytes, or none when the filter is not in memory.
struct bsfg_filter {
    const void *blocks;
    uint64_t block_count;
};

// For each filter the keys, at most 32, that it may contain, a bit each; all of them where it has no blocks.
void bsfg_filters_probe(const struct bsfg_filter *filters, size_t filter_count, const struct bsfg_key_hash *hashes,
                        size_t key_count, uint32_t *found);

// The same without special instructions, for tests of those.
void bsfg_filters_probe_portable(const struct bsfg_filter *filters, size_t filter_count,
                                 const struct bsfg_key_hash *hashes, size_t key_count, uint32_t *found);
