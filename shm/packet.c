/*
 * Packing, checking, sending and receiving the packets of a link's Unix socket (see packet.h). Owns
 * nothing; any thread.
 */
#include "packet.h"

#include <errno.h>
#include <stdalign.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/wire.h"
#include "region.h"

#define MAGIC 0x53424d45u /* "EMBS" */

size_t shm_packet_pack(const struct shm_packet *packet, uint8_t *bytes)
{
    size_t reason = packet->type == SHM_PACKET_REJECT ? strlen(packet->reason) : 0;
    struct wire_writer w = wire_writer(bytes, SHM_PACKET_BYTES + SHM_REJECT_BYTES);
    uint64_t size =
        packet->type == SHM_PACKET_REQUEST ? sizeof(struct shm_region) : packet->size_bytes;

    wire_put_u32(&w, MAGIC);
    wire_put_u16(&w, SHM_VERSION);
    wire_put_u16(&w, (uint16_t)packet->type);
    wire_put_u64(&w, packet->key);
    wire_put_u64(&w, size);
    wire_put_bytes(&w, packet->reason, reason);
    return w.pos;
}

static int check_fields(const struct shm_packet *packet, size_t rest, struct embar_diag *diag)
{
    bool with_fd = packet->type == SHM_PACKET_REQUEST || packet->type == SHM_PACKET_EXPOSE ||
                   packet->type == SHM_PACKET_LEASE || packet->type == SHM_PACKET_LEND;

    if (packet->type < SHM_PACKET_REQUEST || packet->type > SHM_PACKET_LEND)
        return diag_fail(diag, EPROTO, "a packet of unknown type %u", (unsigned)packet->type);
    if (with_fd != (packet->fd >= 0))
        return diag_fail(diag, EPROTO, "a packet of type %u %s a descriptor",
                         (unsigned)packet->type, with_fd ? "lacks" : "brings");
    if (packet->type != SHM_PACKET_REJECT && rest > 0)
        return diag_fail(diag, EPROTO, "a packet of type %u with %zu bytes too many",
                         (unsigned)packet->type, rest);
    if (packet->type == SHM_PACKET_REQUEST && packet->size_bytes != sizeof(struct shm_region))
        return diag_fail(diag, EPROTO, "a control region of %llu bytes instead of %zu",
                         (unsigned long long)packet->size_bytes, sizeof(struct shm_region));
    return 0;
}

int shm_packet_unpack(const uint8_t *bytes, size_t len_bytes, int fd, struct shm_packet *packet,
                      struct embar_diag *diag)
{
    struct wire_reader r = wire_reader(bytes, len_bytes);
    uint32_t magic = wire_get_u32(&r);
    uint16_t version = wire_get_u16(&r), type = wire_get_u16(&r);
    struct shm_packet p = {.type = (enum shm_packet_type)type, .fd = fd};
    size_t rest;
    int rc;

    p.key = wire_get_u64(&r);
    p.size_bytes = wire_get_u64(&r);
    if (r.overrun || magic != MAGIC)
        return diag_fail(diag, EPROTO, "%zu bytes that are no packet of Embar", len_bytes);
    if (version != SHM_VERSION)
        return diag_fail(diag, EPROTONOSUPPORT,
                         "version %u of the shm wire; this side speaks version %u: use the same "
                         "release of Embar at both ends",
                         version, SHM_VERSION);
    rest = len_bytes - r.pos;
    if (rest > SHM_REJECT_BYTES)
        return diag_fail(diag, EPROTO, "a packet of %zu bytes", len_bytes);
    rc = check_fields(&p, rest, diag);
    if (rc < 0)
        return rc;
    memcpy(p.reason, bytes + r.pos, rest);
    *packet = p;
    return 0;
}

int shm_packet_send(int socket_fd, const struct shm_packet *packet)
{
    uint8_t bytes[SHM_PACKET_BYTES + SHM_REJECT_BYTES];
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {.iov_base = bytes, .iov_len = shm_packet_pack(packet, bytes)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (packet->fd >= 0) {
        struct cmsghdr *c;

        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &packet->fd, sizeof(int));
    }
    do {
        n = sendmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* The descriptor that came along, or -1. There is room for just one, so that the kernel closes any
 * other. */
static int received_fd(struct msghdr *msg)
{
    int fd = -1;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
            c->cmsg_len >= CMSG_LEN(sizeof(int)) && fd < 0)
            memcpy(&fd, CMSG_DATA(c), sizeof(int));
    }
    return fd;
}

int shm_packet_receive(int socket_fd, struct shm_packet *packet, struct embar_diag *diag)
{
    uint8_t bytes[SHM_PACKET_BYTES + SHM_REJECT_BYTES + 1]; /* one more shows what is too long */
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = CMSG_LEN(sizeof(int))};
    ssize_t n;
    int fd, rc;

    do {
        n = recvmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    fd = received_fd(&msg);
    /* An empty packet looks like the end; a peer that sends one is treated as gone. */
    rc = n == 0 ? 0 : shm_packet_unpack(bytes, (size_t)n, fd, packet, diag);
    if ((n == 0 || rc < 0) && fd >= 0)
        close(fd);
    return n == 0 ? 0 : rc < 0 ? rc : 1;
}
