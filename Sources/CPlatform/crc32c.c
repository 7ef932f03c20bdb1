#include "CPlatform.h"

#include <string.h>

// CRC-32C, reflected: bit 31 of a value is the coefficient of x^0. A value times x^n is what the CRC of
// the same bytes becomes when n zero bits follow; that joins the CRCs of pieces that were computed
// apart, and lets three pieces be computed at once: the instruction takes three cycles and can begin in
// each one (Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction").
#define POLYNOMIAL 0x82F63B78u

// Bytes of one of three pieces that are computed side by side: for long runs, and for a record.
#define LONG_PIECE 4096
#define SHORT_PIECE 80

static uint32_t table[256];
// x^(8 * 2^k): the factor for 2^k bytes.
static uint32_t power[64];
// The product of each byte of a value and the factor for one piece, and for two.
static uint32_t after_long[2][4][256];
static uint32_t after_short[2][4][256];
static int use_hardware;
static int hardware_is_here(void);

static uint32_t product(uint32_t a, uint32_t b) {
    uint32_t sum = 0;
    for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
        if (a & bit) sum ^= b;
        b = b & 1 ? (b >> 1) ^ POLYNOMIAL : b >> 1;
    }
    return sum;
}

static uint32_t factor(size_t bytes) {
    uint32_t value = 1u << 31;
    for (int k = 0; bytes != 0; k++, bytes >>= 1)
        if (bytes & 1) value = product(power[k], value);
    return value;
}

static void make_products(uint32_t into[4][256], size_t bytes) {
    uint32_t by = factor(bytes);
    for (int place = 0; place < 4; place++)
        for (uint32_t byte = 0; byte < 256; byte++)
            into[place][byte] = product(by, byte << (8 * place));
}

// Made before main runs. The portable path exists for machines without the instruction and as the
// other opinion in tests, not for speed.
__attribute__((constructor)) static void make_tables(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ (POLYNOMIAL & (0u - (value & 1)));
        table[i] = value;
    }
    power[0] = 1u << 23;
    for (int k = 1; k < 64; k++) power[k] = product(power[k - 1], power[k - 1]);
    for (int pieces = 1; pieces <= 2; pieces++) {
        make_products(after_long[pieces - 1], (size_t)pieces * LONG_PIECE);
        make_products(after_short[pieces - 1], (size_t)pieces * SHORT_PIECE);
    }
    use_hardware = hardware_is_here();
}

uint32_t bsfg_crc32c_portable(uint32_t crc, const void *bytes, size_t count) {
    const unsigned char *p = bytes;
    crc = ~crc;
    while (count-- > 0) crc = (crc >> 8) ^ table[(crc ^ *p++) & 0xff];
    return ~crc;
}

uint32_t bsfg_crc32c_joined(uint32_t first, uint32_t second, size_t second_count) {
    return product(factor(second_count), first) ^ second;
}

#if defined(__x86_64__)
#include <nmmintrin.h>
#define HARDWARE __attribute__((target("sse4.2"))) static
#define EIGHT(crc, word) _mm_crc32_u64(crc, word)
#define ONE(crc, byte) _mm_crc32_u8((uint32_t)(crc), byte)
static int hardware_is_here(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define HARDWARE static
#define EIGHT(crc, word) __crc32cd((uint32_t)(crc), word)
#define ONE(crc, byte) __crc32cb((uint32_t)(crc), byte)
static int hardware_is_here(void) { return 1; }
#else
#define HARDWARE static
static int hardware_is_here(void) { return 0; }
#endif

#ifdef EIGHT
static inline uint64_t word_at(const unsigned char *p) {
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static inline uint32_t shifted(const uint32_t by[4][256], uint64_t value) {
    return by[0][value & 255] ^ by[1][(value >> 8) & 255] ^ by[2][(value >> 16) & 255]
        ^ by[3][(value >> 24) & 255];
}

HARDWARE inline uint64_t three_pieces(uint64_t crc, const unsigned char *p, size_t piece,
                                      const uint32_t after[2][4][256]) {
    uint64_t second = 0, third = 0;
    for (size_t i = 0; i < piece; i += 8) {
        crc = EIGHT(crc, word_at(p + i));
        second = EIGHT(second, word_at(p + piece + i));
        third = EIGHT(third, word_at(p + 2 * piece + i));
    }
    return shifted(after[1], crc) ^ shifted(after[0], second) ^ third;
}

HARDWARE uint32_t hardware(uint32_t crc, const void *bytes, size_t count) {
    const unsigned char *p = bytes;
    uint64_t value = (uint32_t)~crc;
    for (; count >= 3 * LONG_PIECE; p += 3 * LONG_PIECE, count -= 3 * LONG_PIECE)
        value = three_pieces(value, p, LONG_PIECE, after_long);
    for (; count >= 3 * SHORT_PIECE; p += 3 * SHORT_PIECE, count -= 3 * SHORT_PIECE)
        value = three_pieces(value, p, SHORT_PIECE, after_short);
    for (; count >= 8; p += 8, count -= 8) value = EIGHT(value, word_at(p));
    while (count-- > 0) value = ONE(value, *p++);
    return ~(uint32_t)value;
}
#else
static uint32_t hardware(uint32_t crc, const void *bytes, size_t count) {
    return bsfg_crc32c_portable(crc, bytes, count);
}
#endif

uint32_t bsfg_crc32c(uint32_t crc, const void *bytes, size_t count) {
    return use_hardware ? hardware(crc, bytes, count) : bsfg_crc32c_portable(crc, bytes, count);
}
