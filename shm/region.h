/*
 * The control region of a link: a sealed memfd that the connecting side makes and both map. Its two
 * halves mirror each other: half 0 is written by the connecting side, half 1 by the listening side,
 * but for the two flags that the other side clears. The layout is docs/wire-shm.md's.
 *
 * The peer can change any byte at any time. Whatever is read here is read once, into a local, and
 * checked there.
 */
#ifndef SHM_REGION_H
#define SHM_REGION_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define SHM_CELLS        256u  /* of a ring; a power of two */
#define SHM_PAYLOAD      4096u /* bytes of a message beside its cell */
#define SHM_INLINE       104u  /* bytes of a message in its cell */
#define SHM_REASON_BYTES 480u

enum shm_cell_type {
    SHM_CELL_WRITE = 1,
    SHM_CELL_MESSAGE = 2,
    SHM_CELL_LENT = 3, /* a write that lies in what its sender has lent */
};

/* One entry of a ring. */
struct shm_cell {
    alignas(128) _Atomic uint64_t commit; /* its position + 1 once all else is in place */
    uint32_t type;                        /* enum shm_cell_type */
    uint32_t len_bytes;
    union {
        struct {
            uint32_t immediate;
            uint32_t reserved;
            uint64_t key;          /* id of the key */
            uint64_t offset;       /* of the first byte, into what the key is good for */
        } write;                   /* WRITE, LENT */
        uint8_t bytes[SHM_INLINE]; /* a message; a longer one lies in `payload` */
    } body;
};

enum shm_end { SHM_END_NONE = 0, SHM_END_ORDERLY = 1, SHM_END_REFUSED = 2 };

/* What one side writes. Each field that changes often has cache lines of its own. */
struct shm_half {
    /* Read by the peer before each write. */
    alignas(128) _Atomic uint64_t exposed_key; /* 0: nothing is exposed */
    _Atomic uint64_t exposures;                /* EXPOSE packets sent */
    alignas(128) _Atomic uint64_t consumed;    /* cells of the peer's ring that were taken */
    alignas(128) _Atomic uint32_t sleeping;    /* wake this side; the peer clears it */
    _Atomic uint32_t wants_room;               /* wake this side when cells were taken */
    alignas(128) _Atomic uint32_t end;         /* enum shm_end: set before the socket is closed */
    uint32_t reason_bytes;
    char reason[SHM_REASON_BYTES];
    alignas(4096) struct shm_cell cells[SHM_CELLS];
    alignas(4096) uint8_t payload[SHM_CELLS][SHM_PAYLOAD]; /* of the cell with the same index */
};

struct shm_region {
    struct shm_half halves[2];
};

/* Makes a region, zeroed and populated, and maps it. Returns the memfd, or a negative errno. */
int shm_region_create(struct shm_region **region);

/* Maps a region that a peer has made. -EINVAL, -EPERM, -ENOMEM: it is not one; or why it cannot be
 * mapped. Does not take `fd` over. */
int shm_region_open(int fd, struct shm_region **region);

/* Harmless with NULL. */
void shm_region_close(struct shm_region *region);

#endif
