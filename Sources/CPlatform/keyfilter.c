#include "include/CPlatform.h"

// Probing of the key runs' filters: blocked Bloom filters whose blocks are cache lines of eight words, with
// one bit of each word for a key (docs/format.md). It is here because the instructions that test eight words
// at once are asked for by function, which Swift cannot.

static inline const uint64_t *block_of(const struct bsfg_filter *filter, const struct bsfg_key_hash *hash) {
    return (const uint64_t *)filter->blocks + ((hash->place * filter->block_count) >> 32) * 8;
}

static int may_contain_portable(const uint64_t *block, uint64_t bits) {
    uint64_t common = ~(uint64_t)0;
    // Without branches: which of the bits is missing cannot be predicted.
    for (int word = 0; word < 8; word++) common &= block[word] >> ((bits >> (6 * word)) & 63);
    return (int)(common & 1);
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static int may_contain_512(const uint64_t *block, uint64_t bits) {
    const __m512i places = _mm512_and_si512(
        _mm512_srlv_epi64(_mm512_set1_epi64((long long)bits), _mm512_set_epi64(42, 36, 30, 24, 18, 12, 6, 0)),
        _mm512_set1_epi64(63));
    const __m512i found = _mm512_srlv_epi64(_mm512_loadu_si512(block), places);
    return _mm512_test_epi64_mask(found, _mm512_set1_epi64(1)) == 0xff;
}

__attribute__((target("avx2"))) static int may_contain_256(const uint64_t *block, uint64_t bits) {
    const __m256i all = _mm256_set1_epi64x((long long)bits), six = _mm256_set1_epi64x(63);
    const __m256i first = _mm256_and_si256(_mm256_srlv_epi64(all, _mm256_set_epi64x(18, 12, 6, 0)), six);
    const __m256i second = _mm256_and_si256(_mm256_srlv_epi64(all, _mm256_set_epi64x(42, 36, 30, 24)), six);
    const __m256i found = _mm256_and_si256(
        _mm256_srlv_epi64(_mm256_loadu_si256((const __m256i *)block), first),
        _mm256_srlv_epi64(_mm256_loadu_si256((const __m256i *)(block + 4)), second));
    return _mm256_testc_si256(found, _mm256_set1_epi64x(1));
}
#endif

static void prefetch(const struct bsfg_filter *filter, const struct bsfg_key_hash *hashes, size_t key_count) {
    if (filter->blocks)
        for (size_t key = 0; key < key_count; key++) __builtin_prefetch(block_of(filter, hashes + key));
}

// Lines that are on their way while others are tested; more was slower.
static const size_t lines_ahead = 16;

// One loop for each way to test a block, which the compiler puts into it.
#define PROBE(name, attributes, may_contain)                                                           \
    attributes static void name(const struct bsfg_filter *filters, size_t filter_count,                \
                                const struct bsfg_key_hash *hashes, size_t key_count, uint32_t *found) { \
        const size_t ahead = key_count < lines_ahead ? lines_ahead / key_count : 1;                    \
        for (size_t number = 0; number < ahead && number < filter_count; number++)                     \
            prefetch(filters + number, hashes, key_count);                                             \
        for (size_t number = 0; number < filter_count; number++) {                                     \
            if (number + ahead < filter_count) prefetch(filters + number + ahead, hashes, key_count);  \
            const struct bsfg_filter *filter = filters + number;                                       \
            uint32_t keys = (uint32_t)(((uint64_t)1 << key_count) - 1);                                \
            if (filter->blocks) {                                                                      \
                keys = 0;                                                                              \
                for (size_t key = 0; key < key_count; key++)                                           \
                    keys |= (uint32_t)may_contain(block_of(filter, hashes + key), hashes[key].bits) << key; \
            }                                                                                          \
            found[number] = keys;                                                                      \
        }                                                                                              \
    }

PROBE(probe_portable, , may_contain_portable)
#if defined(__x86_64__)
PROBE(probe_512, __attribute__((target("avx512f"))), may_contain_512)
PROBE(probe_256, __attribute__((target("avx2"))), may_contain_256)
#endif

void bsfg_filters_probe_portable(const struct bsfg_filter *filters, size_t filter_count,
                                 const struct bsfg_key_hash *hashes, size_t key_count, uint32_t *found) {
    if (key_count > 0) probe_portable(filters, filter_count, hashes, key_count, found);
}

static void (*probe)(const struct bsfg_filter *, size_t, const struct bsfg_key_hash *, size_t, uint32_t *) =
    probe_portable;

__attribute__((constructor)) static void choose_probe(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) probe = probe_512;
    else if (__builtin_cpu_supports("avx2")) probe = probe_256;
#endif
}

void bsfg_filters_probe(const struct bsfg_filter *filters, size_t filter_count, const struct bsfg_key_hash *hashes,
                        size_t key_count, uint32_t *found) {
    if (key_count > 0) probe(filters, filter_count, hashes, key_count, found);
}
