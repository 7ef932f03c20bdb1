#include "CPlatform.h"

#include <string.h>

// One table, made before main runs: the portable path exists for machines without the instruction and
// as the other opinion in tests, not for speed.
static uint32_t table[256];
static int use_hardware;
static int hardware_is_here(void);
__attribute__((constructor)) static void make_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ (0x82F63B78u & (0u - (value & 1)));
        table[i] = value;
    }
    use_hardware = hardware_is_here();
}

uint32_t bsfg_crc32c_portable(uint32_t crc, const void *bytes, size_t count) {
    const unsigned char *p = bytes;
    crc = ~crc;
    while (count-- > 0) crc = (crc >> 8) ^ table[(crc ^ *p++) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
#include <nmmintrin.h>
__attribute__((target("sse4.2"))) static uint32_t hardware(uint32_t crc, const void *bytes,
                                                           size_t count) {
    const unsigned char *p = bytes;
    uint64_t value = (uint32_t)~crc;
    while (count >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        value = _mm_crc32_u64(value, word);
        p += 8;
        count -= 8;
    }
    while (count-- > 0) value = _mm_crc32_u8((uint32_t)value, *p++);
    return ~(uint32_t)value;
}
static int hardware_is_here(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
static uint32_t hardware(uint32_t crc, const void *bytes, size_t count) {
    const unsigned char *p = bytes;
    crc = ~crc;
    while (count >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        crc = __crc32cd(crc, word);
        p += 8;
        count -= 8;
    }
    while (count-- > 0) crc = __crc32cb(crc, *p++);
    return ~crc;
}
static int hardware_is_here(void) { return 1; }
#else
static uint32_t hardware(uint32_t crc, const void *bytes, size_t count) {
    return bsfg_crc32c_portable(crc, bytes, count);
}
static int hardware_is_here(void) { return 0; }
#endif

uint32_t bsfg_crc32c(uint32_t crc, const void *bytes, size_t count) {
    return use_hardware ? hardware(crc, bytes, count) : bsfg_crc32c_portable(crc, bytes, count);
}
