#include "AllocationCounter.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

// The C library's allocator by its own names.
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

enum { PLACE_DEPTH = 14, PLACE_COUNT = 512 };

struct place {
    uint64_t calls;
    int depth;
    void *addresses[PLACE_DEPTH];
};

static atomic_int is_counting;
static int keeps_places;
static _Atomic uint64_t calls;
static struct place places[PLACE_COUNT];
static int place_count;
static pthread_mutex_t places_lock = PTHREAD_MUTEX_INITIALIZER;
// The unwinder may allocate too.
static _Thread_local int is_inside;

static void keep_place(void) {
    if (is_inside) return;
    is_inside = 1;
    void *addresses[PLACE_DEPTH];
    int depth = backtrace(addresses, PLACE_DEPTH);
    pthread_mutex_lock(&places_lock);
    int found = 0;
    while (found < place_count &&
           !(places[found].depth == depth &&
             memcmp(places[found].addresses, addresses, sizeof(void *) * (size_t)depth) == 0))
        found++;
    if (found < PLACE_COUNT) {
        if (found == place_count) {
            places[found].depth = depth;
            memcpy(places[found].addresses, addresses, sizeof(void *) * (size_t)depth);
            place_count++;
        }
        places[found].calls++;
    }
    pthread_mutex_unlock(&places_lock);
    is_inside = 0;
}

static inline void count(void) {
    if (!atomic_load_explicit(&is_counting, memory_order_relaxed)) return;
    atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    if (keeps_places) keep_place();
}

void allocation_counter_start(int with_places) {
    void *warm_up[1];
    if (with_places) backtrace(warm_up, 1);
    keeps_places = with_places;
    place_count = 0;
    atomic_store(&calls, 0);
    atomic_store(&is_counting, 1);
}

uint64_t allocation_counter_stop(void) {
    atomic_store(&is_counting, 0);
    return atomic_load(&calls);
}

void allocation_counter_print_places(void) {
    for (int number = 0; number < place_count; number++) {
        fprintf(stderr, "%llu", (unsigned long long)places[number].calls);
        for (int depth = 0; depth < places[number].depth; depth++) {
            // A return address is one past the call.
            char *address = (char *)places[number].addresses[depth] - 1;
            Dl_info module;
            if (dladdr(address, &module) && module.dli_fname != NULL)
                fprintf(stderr, " %s+%#zx", module.dli_fname,
                        (size_t)(address - (char *)module.dli_fbase));
        }
        fputc('\n', stderr);
    }
}

void *malloc(size_t size) {
    count();
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    count();
    return __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size) {
    count();
    return __libc_realloc(memory, size);
}

void free(void *memory) { __libc_free(memory); }

void *aligned_alloc(size_t alignment, size_t size) {
    count();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    count();
    *memory = __libc_memalign(alignment, size);
    return *memory == NULL ? ENOMEM : 0;
}
