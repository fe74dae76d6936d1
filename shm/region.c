/*
 * Making, checking and mapping control regions. Owns nothing; any thread.
 */
#include "region.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/memory_share.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static int map_region(int fd, struct shm_region **region)
{
    void *map = mmap(NULL, sizeof(**region), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int rc;

    if (map == MAP_FAILED)
        return -errno;
    /* A shortage of memory is an error here, and SIGBUS later. The region is not for children. */
    if (madvise(map, sizeof(**region), MADV_POPULATE_WRITE) < 0 ||
        madvise(map, sizeof(**region), MADV_DONTFORK) < 0) {
        rc = -errno;
        munmap(map, sizeof(**region));
        return rc;
    }
    *region = map;
    return 0;
}

int shm_region_create(struct shm_region **region)
{
    int fd = memory_share_create("embar-link", sizeof(**region), 0);
    int rc;

    if (fd < 0)
        return fd;
    rc = memory_share_seal(fd, false);
    if (rc == 0)
        rc = map_region(fd, region);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return fd;
}

int shm_region_open(int fd, struct shm_region **region)
{
    int rc = memory_share_check(fd, sizeof(**region));

    return rc < 0 ? rc : map_region(fd, region);
}

void shm_region_close(struct shm_region *region)
{
    if (region != NULL)
        munmap(region, sizeof(*region));
}
