#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
