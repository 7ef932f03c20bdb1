// Counts the calls of malloc, calloc, realloc, posix_memalign and aligned_alloc of the whole process,
// and keeps where they came from. Linked into a program it takes the C library's place for every
// library of the process, Swift's runtime included.
#pragma once
#include <stdint.h>

// Begins to count, from zero; with `keeps_places` also where each call came from (slow).
void allocation_counter_start(int keeps_places);

// Ends counting; returns the calls since it began.
uint64_t allocation_counter_stop(void);

// Writes a line a place to standard error: calls, then file+offset of each caller, innermost first.
void allocation_counter_print_places(void);
