/*
 * What a link carries: writes into the peer's mapped buffer and messages, both announced by cells
 * of the ring, and the exposure of this side's buffer. The socket is touched only to hand over a
 * memfd and to wake a peer that sleeps. Whatever the peer says of itself is checked before it is
 * used. Runs on the transport's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "shm.h"

/* ---- waking -------------------------------------------------------------------------------- */

void shm_data_wake(struct shm_link *link)
{
    const struct shm_packet wake = {.type = SHM_PACKET_WAKE, .fd = -1};

    /* A full socket has woken the peer already; one that failed tells epoll. */
    if (atomic_exchange_explicit(&link->peer->sleeping, 0, memory_order_relaxed) != 0) {
        link->wakes++;
        (void)shm_packet_send(link->fd, &wake);
    }
}

/* Something was published: either the peer sees it before it sleeps, or this side sees the flag. */
static void wake_sleeper(struct shm_link *link)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&link->peer->sleeping, memory_order_relaxed) != 0)
        shm_data_wake(link);
}

/* ---- sending ------------------------------------------------------------------------------- */

/* 0, or -EAGAIN and what is to be done about it is noted. */
static int need_room(struct shm_link *link)
{
    int rc = shm_ring_room(&link->tx);

    link->full = rc == 0;
    if (rc < 0)
        shm_link_blame(link, rc, "it claims to have taken cells that it cannot have");
    return rc > 0 ? 0 : -EAGAIN;
}

/* Takes the peer's exposures that wait at the socket, before a message that may speak of them or
 * for a key that came another way. Ends nothing: a blame is for the next round, and so is the
 * socket's end. */
static void look_for_exposures(struct shm_link *link)
{
    struct shm_packet packet;
    struct embar_diag why;
    int rc = 0;

    while (atomic_load_explicit(&link->peer->exposures, memory_order_acquire) != link->exposures &&
           (rc = shm_packet_receive(link->fd, &packet, &why)) == 1) {
        if (packet.type == SHM_PACKET_EXPOSE)
            shm_data_exposed(link, &packet);
        else if (packet.type == SHM_PACKET_LEASE || packet.type == SHM_PACKET_LEND)
            shm_loan_packet(link, &packet);
        else if (packet.type != SHM_PACKET_WAKE)
            shm_link_blame(link, -EPROTO, "a packet that has no meaning while the link is up");
        if (packet.fd >= 0)
            close(packet.fd);
    }
    if (rc == -EPROTO || rc == -EPROTONOSUPPORT)
        shm_link_blame(link, rc, "a packet that is none of Embar's");
}

const struct shm_mapping *shm_data_find_mapping(struct shm_link *link,
                                                const struct shm_mappings *mappings, uint64_t key)
{
    const struct shm_mapping *m = shm_mappings_find(mappings, key);

    if (m != NULL)
        return m;
    look_for_exposures(link);
    return shm_mappings_find(mappings, key);
}

/* Where the bytes go; NULL when the peer would refuse them anyway: only it may end the link for
 * that. */
static uint8_t *target_of(struct shm_link *link, const struct embar_write *write)
{
    const struct shm_mapping *m = shm_data_find_mapping(link, &link->mappings, write->key.id);
    uint64_t exposed = atomic_load_explicit(&link->peer->exposed_key, memory_order_acquire);

    if (m == NULL || exposed != write->key.id || write->key.base != 0 ||
        write->remote_offset > m->size_bytes ||
        write->len_bytes > m->size_bytes - write->remote_offset)
        return NULL;
    return m->addr + write->remote_offset;
}

static void put_write(struct shm_link *link, const struct embar_write *write)
{
    uint64_t key = write->key.id, offset = write->key.base + write->remote_offset;
    enum shm_cell_type type = SHM_CELL_WRITE;

    if (write->loan != NULL) {
        type = SHM_CELL_LENT;
        key = ((const struct shm_loan *)loan_private(write->loan))->key;
        offset = write->offset;
        link->lends++;
    } else if (write->buffer != NULL) {
        const uint8_t *source = buffer_addr(write->buffer);
        uint8_t *target = target_of(link, write);

        if (target != NULL)
            memcpy(target, source + write->offset, write->len_bytes);
        link->copies++;
    } else {
        link->in_place++;
    }
    shm_ring_put_write(&link->tx, type, key, offset, (uint32_t)write->len_bytes, write->immediate);
}

static int data_write(struct embar_link *core, const struct embar_write *write)
{
    struct shm_link *link = link_private(core);
    struct shm_done *done;

    if (link->state != SHM_LINK_UP)
        return -ENOTCONN;
    if (link->done_count == SHM_MAX_WRITES || need_room(link) < 0)
        return -EAGAIN;
    put_write(link, write);
    link->posts++;
    done = &link->dones[(link->done_first + link->done_count++) % SHM_MAX_WRITES];
    *done = (struct shm_done){write->token, write->len_bytes};
    wake_sleeper(link);
    return 0;
}

static int data_send(struct embar_link *core, const void *data, size_t len_bytes)
{
    struct shm_link *link = link_private(core);

    if (link->state != SHM_LINK_UP)
        return -ENOTCONN;
    if (need_room(link) < 0)
        return -EAGAIN;
    shm_ring_put_message(&link->tx, data, (uint32_t)len_bytes);
    link->posts++;
    wake_sleeper(link);
    return 0;
}

static int data_map(struct embar_link *core, const struct embar_key *key, void **addr,
                    struct embar_diag *diag)
{
    struct shm_link *link = link_private(core);
    const struct shm_mapping *m = shm_data_find_mapping(link, &link->mappings, key->id);

    if (m == NULL || key->id == 0 || key->base != 0 || key->size > m->size_bytes)
        return diag_fail(diag, EINVAL,
                         "%s has given no such key to this link: map a key after its message came",
                         embar_link_peer(core));
    *addr = m->addr;
    return 0;
}

const struct backend_data_ops shm_data_ops = {
    .write = data_write,
    .send = data_send,
    .map = data_map,
};

void shm_data_report_dones(struct shm_link *link, int status)
{
    for (; link->done_count > 0; link->done_count--) {
        const struct shm_done *done = &link->dones[link->done_first];

        link->done_first = (link->done_first + 1) % SHM_MAX_WRITES;
        core_write_done(link->link, done->token, done->len_bytes, status);
    }
}

/* ---- receiving ----------------------------------------------------------------------------- */

/* Whether the link is still up. */
static bool take_write(struct shm_link *link, const struct shm_item *item)
{
    if (link->key == 0 || item->key != link->key) {
        shm_link_refuse(link, -EACCES, "a write with a key that is not, or no more, given to it");
        return false;
    }
    if (item->len_bytes == 0 || item->offset > link->key_bytes ||
        item->len_bytes > link->key_bytes - item->offset) {
        shm_link_refuse(link, -EACCES,
                        "a write of %" PRIu32 " bytes at offset %" PRIu64 " of a buffer of %" PRIu64
                        " bytes",
                        item->len_bytes, item->offset, link->key_bytes);
        return false;
    }
    core_arrival(link->link, item->immediate, item->len_bytes);
    return true;
}

/* Takes the next cell, which is ready. Whether the link is still up. */
static bool take_cell(struct shm_link *link)
{
    struct shm_item item;

    if (shm_ring_peek(&link->rx, &item) < 0) {
        shm_link_refuse(link, -EPROTO, "a cell of unknown type or of a length that no message has");
        return false;
    }
    if (item.type == SHM_CELL_MESSAGE)
        core_message(link->link, item.bytes, item.len_bytes);
    else if (!(item.type == SHM_CELL_LENT ? shm_loan_take : take_write)(link, &item))
        return false;
    shm_ring_take(&link->rx);
    link->takes++;
    return true;
}

static void tell_peer(struct shm_link *link)
{
    if (!shm_ring_tell(&link->rx))
        return;
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&link->peer->wants_room, memory_order_relaxed) != 0)
        shm_data_wake(link);
}

void shm_data_progress(struct shm_link *link, int budget)
{
    if (link->offence != NULL) {
        shm_link_refuse(link, link->offence_status, "%s", link->offence);
        return;
    }
    shm_data_report_dones(link, 0);
    if (!shm_ring_ready(&link->rx))
        return;
    /* A message may speak of a key: what was exposed before it was sent is to be mapped before it
     * is delivered. */
    look_for_exposures(link);
    for (; budget > 0 && shm_ring_ready(&link->rx); budget--) {
        if (!take_cell(link))
            return;
    }
    tell_peer(link);
}

bool shm_data_has_work(struct shm_link *link)
{
    return link->offence != NULL || link->done_count > 0 || shm_ring_ready(&link->rx) ||
           (link->full && shm_ring_room(&link->tx) != 0);
}

/* ---- buffers ------------------------------------------------------------------------------- */

void shm_data_exposed(struct shm_link *link, const struct shm_packet *packet)
{
    int rc = shm_mappings_add(&link->mappings, SHM_MAPPING_WRITE, packet->fd, -1, packet->key,
                              packet->size_bytes);

    link->exposures++;
    if (rc == -EPROTO)
        shm_link_blame(link, rc,
                       "an exposed buffer that is not populated, sealed and of the size it says");
    else if (rc == -ENOBUFS)
        shm_link_blame(link, rc, "more exposed buffers than a link may have");
    else if (rc < 0)
        shm_link_blame(link, rc, "this side could not map the exposed buffer");
}

uint64_t shm_data_new_key(struct shm_link *link)
{
    uint64_t key;

    do
        key = env_random(link->transport->env);
    while (key == 0);
    return key;
}

int shm_data_hand_over(struct shm_link *link, const struct shm_packet *packet,
                       struct embar_diag *diag)
{
    int rc;

    if (link->state != SHM_LINK_UP)
        return diag_fail(diag, ENOTCONN, "the link to %s is ending", embar_link_peer(link->link));
    rc = shm_packet_send(link->fd, packet);
    if (rc < 0)
        return diag_fail(diag, -rc, "the buffer could not be handed to %s: %s",
                         embar_link_peer(link->link),
                         rc == -EAGAIN ? "it does not read its socket; try again" : strerror(-rc));
    atomic_fetch_add_explicit(&link->mine->exposures, 1, memory_order_release);
    return 0;
}

static int buffer_expose(struct embar_buffer *buffer, struct embar_link *core,
                         struct embar_key *key, struct embar_diag *diag)
{
    struct shm_link *link = link_private(core);
    struct shm_packet packet = {
        .type = SHM_PACKET_EXPOSE, .fd = buffer_fd(buffer), .size_bytes = buffer_size(buffer)};
    int rc;

    if (packet.fd < 0)
        return diag_fail(diag, ENOTSUP,
                         "memory that was adopted cannot be exposed over shm: the peer could not "
                         "map it; allocate it with embar_buffer_alloc while an shm transport is "
                         "open");
    packet.key = shm_data_new_key(link);
    rc = shm_data_hand_over(link, &packet, diag);
    if (rc < 0)
        return rc;
    link->key = packet.key;
    link->key_bytes = packet.size_bytes;
    atomic_store_explicit(&link->mine->exposed_key, packet.key, memory_order_release);
    *key = (struct embar_key){.id = packet.key, .size = packet.size_bytes};
    return 0;
}

static void buffer_unexpose(struct embar_buffer *buffer, struct embar_link *core)
{
    struct shm_link *link = link_private(core);

    (void)buffer;
    link->key = 0;
    link->key_bytes = 0;
    /* Between this store and the peer's look at it a copy may be under way. */
    if (link->mine != NULL)
        atomic_store_explicit(&link->mine->exposed_key, 0, memory_order_release);
}

const struct backend_buffer_ops shm_buffer_ops = {
    .reg = backend_register_none,
    .unreg = backend_unregister_none,
    .expose = buffer_expose,
    .unexpose = buffer_unexpose,
};
