/*
 * What one core's memcpy does, on huge pages where there are some:
 *   bench_memcpy span MIB SECONDS      2 MiB pieces from one region of so many MiB to another
 *   bench_memcpy publish MIB SECONDS   one hot 4 KiB message again and again, each behind the one
 *                                      before it and a 4-byte header, through 2 MiB slots of a
 *                                      region of so many MiB: how embar_publish writes
 * Runs on core 0 and prints one line of JSON.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

#define SLOT_BYTES    ((size_t)2 * 1024 * 1024)
#define MESSAGE_BYTES 4096
#define HEADER_BYTES  4
#define BATCH_HEADER  64

static unsigned char *region(size_t bytes)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    void *addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);

    if (addr == MAP_FAILED) {
        addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (addr == MAP_FAILED)
            bench_fail("no memory: %s", strerror(errno));
        madvise(addr, bytes, MADV_HUGEPAGE);
    }
    memset(addr, 0x5a, bytes);
    return addr;
}

/* The bytes copied in one go through the region. */
static size_t copy_span(unsigned char *to, const unsigned char *from, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += SLOT_BYTES)
        memcpy(to + at, from + at, SLOT_BYTES);
    return bytes;
}

static size_t copy_messages(unsigned char *to, const unsigned char *message, size_t bytes)
{
    size_t copied = 0;

    for (size_t slot = 0; slot < bytes; slot += SLOT_BYTES)
        for (size_t at = BATCH_HEADER; at + HEADER_BYTES + MESSAGE_BYTES <= SLOT_BYTES;
             at += HEADER_BYTES + MESSAGE_BYTES) {
            uint32_t len = MESSAGE_BYTES;

            memcpy(to + slot + at, &len, sizeof len);
            memcpy(to + slot + at + HEADER_BYTES, message, MESSAGE_BYTES);
            copied += MESSAGE_BYTES;
        }
    return copied;
}

int main(int argc, char **argv)
{
    size_t (*copy)(unsigned char *, const unsigned char *, size_t) = copy_span;
    unsigned char *from, *to;
    uint64_t begin_ns, now_ns;
    double seconds, copied = 0;
    size_t bytes;

    if (argc != 4)
        bench_fail("usage: bench_memcpy span|publish MIB SECONDS");
    bench_pin(0);
    if (strcmp(argv[1], "publish") == 0)
        copy = copy_messages;
    bytes = strtoul(argv[2], NULL, 10) * 1024 * 1024;
    seconds = strtod(argv[3], NULL);
    from = region(copy == copy_span ? bytes : SLOT_BYTES);
    to = region(bytes);
    copy(to, from, bytes);
    begin_ns = bench_now_ns();
    do {
        copied += (double)copy(to, from, bytes);
        __asm__ volatile("" ::: "memory"); /* what was copied is wanted */
        now_ns = bench_now_ns();
    } while ((double)(now_ns - begin_ns) < seconds * 1e9);
    printf("{\"gbps\": %.6f}\n", copied / (double)(now_ns - begin_ns));
    return 0;
}
