/*
 * Loans: what one side lets the other read where it lies. The lender hands over the memfd, and
 * before it one end of a pair of sockets, the lease. The borrower says over it that it has mapped
 * the memory, and keeps it for as long as it does, so that its end, by shutdown or by death, tells
 * the lender that nobody reads there any more. Runs on the transport's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/log.h"
#include "common/memory_share.h"
#include "shm.h"

/* ---- lending ------------------------------------------------------------------------------- */

/* LEASE and LEND. Without the second the first means nothing. */
static int hand_over(struct shm_link *link, struct embar_buffer *buffer, uint64_t key, int lease_fd,
                     struct embar_diag *diag)
{
    const struct shm_packet lease = {.type = SHM_PACKET_LEASE, .fd = lease_fd, .key = key};
    const struct shm_packet lend = {.type = SHM_PACKET_LEND,
                                    .fd = buffer_fd(buffer),
                                    .key = key,
                                    .size_bytes = buffer_size(buffer)};
    int rc = shm_data_hand_over(link, &lease, diag);

    return rc < 0 ? rc : shm_data_hand_over(link, &lend, diag);
}

static int loan_lend(struct embar_loan *core, struct embar_link *core_link,
                     struct embar_buffer *buffer, struct embar_diag *diag)
{
    struct shm_link *link = link_private(core_link);
    struct shm_loan *loan = loan_private(core);
    int ends[2];
    int rc;

    if (buffer_fd(buffer) < 0 || !memory_share_is_read_only(buffer_fd(buffer)))
        return diag_fail(diag, ENOTSUP,
                         "only a sealed memfd can be lent over shm: this memory was adopted, or "
                         "allocated before an shm transport was open, or the kernel gathers no "
                         "huge pages for a memfd");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return diag_fail(diag, errno, "no sockets for a loan: %s", strerror(errno));
    loan->key = shm_data_new_key(link);
    rc = hand_over(link, buffer, loan->key, ends[1], diag);
    close(ends[1]); /* the peer's is the only one */
    if (rc < 0) {
        close(ends[0]);
        return rc;
    }
    loan->lease_fd = ends[0];
    return 0;
}

static enum embar_loan_state loan_state(struct embar_loan *core)
{
    struct shm_loan *loan = loan_private(core);
    struct pollfd lease = {.fd = loan->lease_fd, .events = 0};
    char taken;

    if (poll(&lease, 1, 0) > 0 && (lease.revents & POLLHUP) != 0)
        return EMBAR_LOAN_OVER;
    if (!loan->taken)
        loan->taken = recv(loan->lease_fd, &taken, 1, MSG_DONTWAIT) == 1;
    return loan->taken ? EMBAR_LOAN_TAKEN : EMBAR_LOAN_OFFERED;
}

static void loan_close(struct embar_loan *core)
{
    const struct shm_loan *loan = loan_private(core);

    close(loan->lease_fd);
}

const struct backend_loan_ops shm_loan_ops = {
    .lend = loan_lend,
    .state = loan_state,
    .close = loan_close,
};

/* ---- borrowing ----------------------------------------------------------------------------- */

static void take_lease(struct shm_link *link, struct shm_packet *packet)
{
    shm_mapping_end_lease(link->lease_fd); /* what it was for could not be sent */
    link->lease_fd = packet->fd;
    link->lease_key = packet->key;
    packet->fd = -1;
}

/* Over a socket of the peer's making: it may be none, or full. */
static int say_taken(int lease_fd)
{
    return send(lease_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 ? 0 : -EPROTO;
}

/* A loan that cannot be taken here is no fault of the peer's: it goes on without. */
static void take_loan(struct shm_link *link, const struct shm_packet *packet)
{
    int rc = -EPROTO;

    if (link->lease_fd >= 0 && link->lease_key == packet->key && link->lent.count == 0)
        rc = shm_mappings_add(&link->lent, SHM_MAPPING_READ, packet->fd, link->lease_fd,
                              packet->key, packet->size_bytes);
    if (rc == 0) {
        rc = say_taken(link->lease_fd);
        link->lease_fd = -1;
    }
    if (rc == -EPROTO) {
        shm_link_blame(link, rc,
                       "a lent buffer without its lease, or a second one, or that is not "
                       "populated, sealed and of the size it says");
    } else if (rc < 0) {
        log_info("link %" PRIu64 ": what %s lends cannot be mapped, it has to copy: %s",
                 embar_link_id(link->link), embar_link_peer(link->link), strerror(-rc));
        shm_mapping_end_lease(link->lease_fd);
        link->lease_fd = -1;
    }
}

void shm_loan_packet(struct shm_link *link, struct shm_packet *packet)
{
    link->exposures++;
    if (packet->type == SHM_PACKET_LEASE)
        take_lease(link, packet);
    else
        take_loan(link, packet);
}

bool shm_loan_take(struct shm_link *link, const struct shm_item *item)
{
    const struct shm_mapping *m = shm_data_find_mapping(link, &link->lent, item->key);

    if (item->key == 0 || m == NULL) {
        shm_link_refuse(link, -EACCES, "a write in a buffer that it has not lent");
        return false;
    }
    if (item->len_bytes == 0 || item->offset > m->size_bytes ||
        item->len_bytes > m->size_bytes - item->offset) {
        shm_link_refuse(link, -EACCES,
                        "a write of %" PRIu32 " bytes at offset %" PRIu64
                        " of a lent buffer of %" PRIu64 " bytes",
                        item->len_bytes, item->offset, m->size_bytes);
        return false;
    }
    core_arrival_lent(link->link, item->immediate, m->addr + item->offset, item->len_bytes);
    return true;
}

void shm_loan_close_lent(struct shm_link *link)
{
    shm_mappings_close(&link->lent);
    shm_mapping_end_lease(link->lease_fd);
    link->lease_fd = -1;
}
