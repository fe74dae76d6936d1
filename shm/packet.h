/*
 * What goes over the Unix socket of a link: packets of 24 bytes, a reason behind a REJECT, a
 * descriptor beside a REQUEST, an EXPOSE, a LEASE and a LEND. Data never goes this way. The layout
 * is docs/wire-shm.md's. Calls do not block; any thread.
 */
#ifndef SHM_PACKET_H
#define SHM_PACKET_H

#include <stddef.h>
#include <stdint.h>

#include <embar/diag.h>

#define SHM_PACKET_BYTES 24u
#define SHM_REJECT_BYTES 480u
#define SHM_VERSION      2u

enum shm_packet_type {
    SHM_PACKET_REQUEST = 1, /* the connecting side asks; with the region */
    SHM_PACKET_ACCEPT,
    SHM_PACKET_REJECT, /* with a reason */
    SHM_PACKET_EXPOSE, /* key and size; with the buffer's memfd */
    SHM_PACKET_WAKE,   /* the ring has news for a sleeper */
    SHM_PACKET_LEASE,  /* key; with the socket that the receiver keeps for as long as it maps ... */
    SHM_PACKET_LEND,   /* ... what comes next: key and size; with the lent buffer's memfd */
};

struct shm_packet {
    enum shm_packet_type type;
    uint64_t key, size_bytes;          /* EXPOSE, LEND; LEASE: key */
    int fd;                            /* owned by whoever received it; -1: none */
    char reason[SHM_REJECT_BYTES + 1]; /* REJECT; NUL-terminated */
};

/* Packs into `bytes` of SHM_PACKET_BYTES + SHM_REJECT_BYTES; returns the length. */
size_t shm_packet_pack(const struct shm_packet *packet, uint8_t *bytes);

/* Checks and unpacks what came as one packet; `fd` (-1: none) is taken over on success.
 * -EPROTONOSUPPORT another version, -EPROTO; with a sentence. */
int shm_packet_unpack(const uint8_t *bytes, size_t len_bytes, int fd, struct shm_packet *packet,
                      struct embar_diag *diag);

/* 0, or a negative errno: -EAGAIN the socket is full. */
int shm_packet_send(int socket_fd, const struct shm_packet *packet);

/* 1: a packet; 0: the peer has closed; -EAGAIN; -EPROTO, -EPROTONOSUPPORT with a sentence; or the
 * error of the socket. */
int shm_packet_receive(int socket_fd, struct shm_packet *packet, struct embar_diag *diag);

#endif
