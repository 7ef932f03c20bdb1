#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

int bsfg_all_zero(const void *bytes, size_t count) {
    const unsigned char *p = bytes;
    while (count >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        if (word != 0) return 0;
        p += 8;
        count -= 8;
    }
    while (count-- > 0)
        if (*p++ != 0) return 0;
    return 1;
}

int bsfg_open_direct(const char *path) { return open(path, O_RDONLY | O_CLOEXEC | O_DIRECT); }

int bsfg_open_direct_writable(const char *path) {
    return open(path, O_RDWR | O_CLOEXEC | O_DIRECT);
}

int bsfg_open_direct_synchronous(const char *path) {
    return open(path, O_RDWR | O_CLOEXEC | O_DIRECT | O_DSYNC);
}

void bsfg_begin_write_back(int descriptor, uint64_t position, size_t count) {
    sync_file_range(descriptor, (off_t)position, (off_t)count, SYNC_FILE_RANGE_WRITE);
}

void bsfg_write_back(int descriptor, uint64_t position, size_t count) {
    sync_file_range(descriptor, (off_t)position, (off_t)count,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

size_t bsfg_device_attribute(const char *path, const char *attribute, char *text, size_t capacity) {
    struct stat info;
    if (capacity == 0 || stat(path, &info) != 0) return 0;
    char name[320];
    if (*attribute == 0) {
        snprintf(name, sizeof name, "/sys/dev/block/%u:%u", major(info.st_dev), minor(info.st_dev));
        char *resolved = realpath(name, NULL);
        if (!resolved) return 0;
        int count = snprintf(text, capacity, "%s", strrchr(resolved, '/') + 1);
        free(resolved);
        return (size_t)count < capacity ? (size_t)count : capacity - 1;
    }
    // A partition has no queue of its own: its disk, one level up, has.
    const char *forms[] = {"/sys/dev/block/%u:%u/%s", "/sys/dev/block/%u:%u/../%s"};
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, forms[i], major(info.st_dev), minor(info.st_dev), attribute);
        FILE *file = fopen(name, "re");
        if (!file) continue;
        size_t count = fread(text, 1, capacity - 1, file);
        fclose(file);
        while (count > 0 && text[count - 1] == '\n') count--;
        text[count] = 0;
        return count;
    }
    return 0;
}

int64_t bsfg_write_limited(const char *path, uint64_t limit_bytes, const void *bytes, size_t count,
                           uint64_t position, int *second_error) {
    *second_error = 0;
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return -1;
    struct rlimit before;
    getrlimit(RLIMIT_FSIZE, &before);
    struct rlimit limit = {.rlim_cur = limit_bytes, .rlim_max = before.rlim_max};
    // Without this the kernel ends the process where the limit is met.
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    ssize_t first = -1;
    if (setrlimit(RLIMIT_FSIZE, &limit) == 0) {
        first = pwrite(descriptor, bytes, count, (off_t)position);
        if (first >= 0 && (size_t)first < count &&
            pwrite(descriptor, (const char *)bytes + first, count - first,
                   (off_t)position + first) < 0)
            *second_error = errno;
        setrlimit(RLIMIT_FSIZE, &before);
    }
    signal(SIGXFSZ, handler);
    close(descriptor);
    return first;
}

static uint32_t queue_attribute(const char *path, const char *attribute) {
    struct stat info;
    if (stat(path, &info) != 0) return 0;
    // A partition has no queue of its own: its disk, one level up, has.
    const char *forms[] = {"/sys/dev/block/%u:%u/queue/%s", "/sys/dev/block/%u:%u/../queue/%s"};
    for (int i = 0; i < 2; i++) {
        char name[160];
        snprintf(name, sizeof name, forms[i], major(info.st_dev), minor(info.st_dev), attribute);
        FILE *file = fopen(name, "re");
        if (!file) continue;
        unsigned value = 0;
        int fields = fscanf(file, "%u", &value);
        fclose(file);
        if (fields == 1) return value;
    }
    return 0;
}

uint32_t bsfg_physical_block_bytes(const char *path) {
    return queue_attribute(path, "physical_block_size");
}
uint32_t bsfg_logical_block_bytes(const char *path) {
    return queue_attribute(path, "logical_block_size");
}

void bsfg_futex_wait(const uint32_t *word, uint32_t expected, int64_t timeout_nanoseconds) {
    struct timespec limit = {timeout_nanoseconds / 1000000000, timeout_nanoseconds % 1000000000};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, timeout_nanoseconds < 0 ? NULL : &limit,
            NULL, 0);
}
void bsfg_futex_wake_all(const uint32_t *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 0x7fffffff, NULL, NULL, 0);
}

void bsfg_thread_name(const char *name) { pthread_setname_np(pthread_self(), name); }

void bsfg_thread_yields_soon(void) {
    // linux/sched/types.h, which older headers have not.
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {.size = sizeof attributes, .runtime = 100 * 1000};
    attributes.nice = getpriority(PRIO_PROCESS, 0);
    // SCHED_OTHER; a kernel before 6.12 ignores the slice.
    syscall(SYS_sched_setattr, 0, &attributes, 0);
}

int64_t bsfg_peer_user_id(int descriptor) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -1;
    return credentials.uid;
}

uint32_t bsfg_load_acquire(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
void bsfg_store_release(uint32_t *word, uint32_t value) {
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

int bsfg_clock_synchronised(void) {
    struct timex state = {.modes = 0};
    return adjtimex(&state) != -1 && !(state.status & STA_UNSYNC);
}

void bsfg_return_large_blocks(size_t bytes) {
    mallopt(M_MMAP_THRESHOLD, (int)bytes);
    // Set as well, or every small block at the end of the heap that is freed is a system call.
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
    mallopt(M_ARENA_MAX, 2);
}
