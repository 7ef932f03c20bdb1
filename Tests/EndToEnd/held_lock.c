// Holds a process at its first flock, which is that of its first log, until a file is there: the start of a
// node, for as long as a test needs. Loaded with LD_PRELOAD.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_flag passed = ATOMIC_FLAG_INIT;

int flock(int descriptor, int operation) {
    const char *mark = getenv("HELD_LOCK_MARK"), *release = getenv("HELD_LOCK_RELEASE");
    if (mark && release && !atomic_flag_test_and_set(&passed)) {
        close(open(mark, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        while (access(release, F_OK) != 0) usleep(10000);
    }
    return ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(descriptor, operation);
}
