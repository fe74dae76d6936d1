/*
 * Memory that another process can map: memfds (memfd_create(2)), sealed against a change of their
 * size before anybody maps them. Owns nothing; any thread.
 */
#include "common/memory_share.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/memory_map.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

#define SIZE_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static size_t round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

int memory_share_create(const char *name, size_t size_bytes, unsigned flags)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    int rc;

    if (fd < 0)
        return errno == EPERM ? -EACCES : -errno; /* a sandbox; EPERM is for memory to be bound */
    if (ftruncate(fd, (off_t)size_bytes) < 0 || fcntl(fd, F_ADD_SEALS, SIZE_SEALS) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

int memory_share_seal(int fd, bool read_only)
{
    return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | (read_only ? F_SEAL_FUTURE_WRITE : 0)) < 0 ? -errno
                                                                                           : 0;
}

bool memory_share_is_read_only(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);

    return seals >= 0 && (seals & F_SEAL_FUTURE_WRITE) != 0;
}

int memory_share_check(int fd, size_t size_bytes)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;

    if (seals < 0 || (seals & SIZE_SEALS) != SIZE_SEALS)
        return -EPERM;
    if (fstat(fd, &st) < 0 || st.st_size < 0 || (uint64_t)st.st_size != size_bytes)
        return -EINVAL;
    return (uint64_t)st.st_blocks * 512 >= size_bytes ? 0 : -ENOMEM;
}

/* Hands the descriptor to the memory, or closes it when the memory could not be populated. */
static int keep_fd(struct memory *memory, int fd, int rc)
{
    if (rc < 0) {
        close(fd);
        return rc;
    }
    memory->shareable = true;
    memory->fd = fd;
    return 0;
}

int memory_share_hugetlb(struct memory *memory, size_t size_bytes, size_t huge_bytes, int node)
{
    size_t map_bytes = round_up(size_bytes, huge_bytes);
    unsigned log2 = (unsigned)__builtin_ctzl(huge_bytes);
    int fd = memory_share_create("embar", map_bytes, MFD_HUGETLB | log2 << MFD_HUGE_SHIFT);
    void *map;
    int rc;

    if (fd < 0)
        return fd;
    map = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        rc = -errno;
        close(fd);
        return rc;
    }
    *memory = (struct memory){.addr = map,
                              .size_bytes = map_bytes,
                              .kind = EMBAR_PAGES_HUGETLB,
                              .page_bytes = huge_bytes,
                              .page_count = map_bytes / huge_bytes,
                              .map_addr = map,
                              .map_bytes = map_bytes};
    return keep_fd(memory, fd, memory_map_finish(memory, huge_bytes, node));
}

int memory_share_small(struct memory *memory, size_t size_bytes, size_t thp_bytes, int node)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t unit = thp_bytes > 0 ? thp_bytes : page;
    size_t map_bytes = round_up(size_bytes, unit);
    int fd = memory_share_create("embar", map_bytes, 0);
    int rc;

    if (fd < 0)
        return fd;
    rc = memory_map_guarded(memory, map_bytes, unit);
    if (rc < 0)
        return keep_fd(memory, fd, rc);
    if (mmap(memory->addr, map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
        MAP_FAILED) {
        rc = -errno;
        memory_free(memory);
        return keep_fd(memory, fd, rc);
    }
    /* EINVAL: a kernel without transparent huge pages. */
    if (madvise(memory->addr, map_bytes, thp_bytes > 0 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) < 0 &&
        errno != EINVAL) {
        rc = -errno;
        memory_free(memory);
        return keep_fd(memory, fd, rc);
    }
    rc = memory_map_finish(memory, page, node);
    if (rc == 0 && thp_bytes > 0)
        memory_collapse(memory);
    return keep_fd(memory, fd, rc);
}
