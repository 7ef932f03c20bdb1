// Makes the Nth pwrite of a process a short one: it writes 100 bytes and says so, as a write that a
// signal or a nearly full disk cut off does. Loaded with LD_PRELOAD; strace can only change what a call
// returns, which would be a lie about bytes that were never written.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

typedef ssize_t (*writer)(int, const void *, size_t, off_t);
static atomic_long calls;

static ssize_t perform(const char *name, int descriptor, const void *bytes, size_t count, off_t position) {
    writer real = (writer)dlsym(RTLD_NEXT, name);
    const char *at = getenv("SHORT_WRITE_AT");
    if (at && count > 100 && atomic_fetch_add(&calls, 1) + 1 == atol(at)) {
        const char *mark = getenv("SHORT_WRITE_MARK");
        if (mark) close(open(mark, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        count = 100;
    }
    return real(descriptor, bytes, count, position);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t position) {
    return perform("pwrite", descriptor, bytes, count, position);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t position) {
    return perform("pwrite64", descriptor, bytes, count, position);
}
