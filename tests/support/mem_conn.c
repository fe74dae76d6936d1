/*
 * Connections of the in-memory backend (see mem_conn.h): what lies in an inbox, in which order it
 * is taken, and how an end goes down so that every write of it ends once. Owns connections and
 * items. Runs on whichever transport's thread calls, under mem_lock.
 */
#include "support/mem_conn.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "transport/backend.h"

/* Recursive: reporting a link down makes core call unexpose from within. */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

void mem_lock(void)
{
    pthread_mutex_lock(&lock);
}

void mem_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

/* splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators). */
uint64_t mem_random(struct mem_transport *transport)
{
    uint64_t z = transport->random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void mem_wake(const struct mem_transport *transport)
{
    uint64_t one = 1;

    /* Fails only when the counter is full, and then the descriptor is readable already. */
    if (write(transport->fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        abort();
}

struct mem_conn *mem_conn_create(void)
{
    struct mem_conn *conn = calloc(1, sizeof(*conn));

    if (conn == NULL)
        return NULL;
    conn->refs = 2;
    for (int i = 0; i < 2; i++) {
        conn->ends[i].conn = conn;
        conn->ends[i].peer = &conn->ends[1 - i];
    }
    return conn;
}

void mem_conn_put(struct mem_conn *conn)
{
    if (--conn->refs > 0)
        return;
    for (int i = 0; i < 2; i++) {
        while (conn->ends[i].inbox != NULL) {
            struct mem_item *item = conn->ends[i].inbox;
            conn->ends[i].inbox = item->next;
            free(item);
        }
    }
    free(conn);
}

struct mem_end *mem_end_of(const struct embar_link *link)
{
    return *(struct mem_end **)link_private(link);
}

void mem_end_attach(struct mem_end *end, struct mem_transport *transport, struct embar_link *link)
{
    struct mem_end **last = &transport->ends;

    while (*last != NULL)
        last = &(*last)->next;
    *last = end;
    end->transport = transport;
    end->link = link;
    end->phase = MEM_CONNECTING;
    *(struct mem_end **)link_private(link) = end;
}

void mem_end_detach(struct mem_end *end)
{
    struct mem_end **at = &end->transport->ends;

    while (*at != end)
        at = &(*at)->next;
    *at = end->next;
    while (end->map_count > 0) {
        end->map_count--;
        munmap(end->maps[end->map_count].addr, end->maps[end->map_count].size_bytes);
    }
    if (end->lent.addr != NULL)
        munmap(end->lent.addr, end->lent.size_bytes);
    end->lent.addr = NULL;
    end->link = NULL;
    end->transport = NULL;
    mem_conn_put(end->conn);
}

/* ---- filling an inbox --------------------------------------------------------------------- */

static struct mem_item *item_create(enum mem_kind kind, const void *data, size_t len_bytes)
{
    struct mem_item *item = calloc(1, sizeof(*item) + len_bytes);

    if (item == NULL)
        return NULL;
    item->kind = kind;
    item->len_bytes = len_bytes;
    if (len_bytes > 0)
        memcpy(item->data, data, len_bytes);
    return item;
}

static void deliver(struct mem_end *to, struct mem_item *item)
{
    struct mem_item **last = &to->inbox;
    struct mem_transport *transport = to->transport;

    while (*last != NULL)
        last = &(*last)->next;
    item->next = NULL;
    *last = item;
    if (transport == NULL) /* pending: there is nobody to wait for a step */
        return;
    item->due_step = transport->step;
    if (transport->settings->delay > 0)
        item->due_step += mem_random(transport) % ((uint64_t)transport->settings->delay + 1);
    mem_wake(transport);
}

int mem_push_accepted(struct mem_end *to)
{
    struct mem_item *item = item_create(MEM_ACCEPTED, NULL, 0);

    if (item == NULL)
        return -ENOMEM;
    deliver(to, item);
    return 0;
}

int mem_push_bye(struct mem_end *to, int status, const char *reason)
{
    struct mem_item *item;

    if (to->phase == MEM_DOWN)
        return 0;
    item = item_create(MEM_BYE, reason, strlen(reason) + 1);
    if (item == NULL)
        return -ENOMEM;
    item->status = status;
    deliver(to, item);
    return 0;
}

int mem_push_message(struct mem_end *to, const void *data, size_t len_bytes)
{
    struct mem_item *item;

    if (to->phase == MEM_DOWN)
        return 0; /* its BYE is on its way; nobody would read this */
    item = item_create(MEM_MESSAGE, data, len_bytes);
    if (item == NULL)
        return -ENOMEM;
    to->peer->messages_waiting++;
    deliver(to, item);
    return 0;
}

int mem_push_write(struct mem_end *to, const struct embar_write *write, bool corrupt,
                   size_t corrupt_offset)
{
    struct mem_item *item = item_create(MEM_WRITE, NULL, 0);

    if (item == NULL)
        return -ENOMEM;
    item->write = *write;
    item->corrupt = corrupt;
    item->corrupt_offset = corrupt_offset;
    if (to->phase == MEM_DOWN) {
        item->kind = MEM_DONE;
        item->status = -ECANCELED;
        deliver(to->peer, item);
    } else {
        deliver(to, item);
    }
    return 0;
}

static void add_map(struct mem_end *end, uint64_t key_id)
{
    const struct embar_buffer *buffer =
        end->peer->link != NULL ? link_exposed_buffer(end->peer->link) : NULL;
    struct mem_map *map = &end->maps[end->map_count];
    void *addr;

    if (buffer == NULL || end->peer->key_id != key_id || key_id == 0 ||
        end->map_count == MEM_MAX_MAPS)
        return;
    addr =
        mmap(NULL, buffer_size(buffer), PROT_READ | PROT_WRITE, MAP_SHARED, buffer_fd(buffer), 0);
    if (addr == MAP_FAILED)
        return;
    *map = (struct mem_map){key_id, addr, buffer_size(buffer)};
    end->map_count++;
}

/* NULL: no such key was given to this link. */
static const struct mem_map *find_map(const struct mem_end *end, const struct embar_key *key)
{
    for (unsigned i = 0; i < end->map_count; i++) {
        if (end->maps[i].key_id == key->id && key->base == 0 &&
            key->size <= end->maps[i].size_bytes)
            return &end->maps[i];
    }
    return NULL;
}

const struct mem_map *mem_end_map(struct mem_end *end, const struct embar_key *key)
{
    const struct mem_map *found = find_map(end, key);

    if (found != NULL)
        return found;
    add_map(end, key->id);
    return find_map(end, key);
}

/* ---- going down --------------------------------------------------------------------------- */

/* Takes this end's writes out of the peer's inbox, and on a cut all else too. */
static void recall(struct mem_end *end, int status, bool everything)
{
    struct mem_item **at = &end->peer->inbox;

    while (*at != NULL) {
        struct mem_item *item = *at;
        bool mine = item->kind == MEM_WRITE;

        if (!mine && (!everything || item->kind == MEM_DONE)) {
            at = &item->next;
            continue;
        }
        *at = item->next;
        if (mine)
            core_write_done(end->link, item->write.token, item->write.len_bytes, status);
        free(item);
    }
}

/* Empties the inbox: this end's finished writes are reported, the peer's are handed back. */
static void discard(struct mem_end *end, int status)
{
    while (end->inbox != NULL) {
        struct mem_item *item = end->inbox;

        end->inbox = item->next;
        if (item->kind == MEM_DONE) {
            core_write_done(end->link, item->write.token, item->write.len_bytes, item->status);
        } else if (item->kind == MEM_WRITE && end->peer->phase != MEM_DOWN) {
            item->kind = MEM_DONE;
            item->status = status;
            deliver(end->peer, item);
            continue;
        } else if (item->kind == MEM_MESSAGE) {
            end->peer->messages_waiting--;
        }
        free(item);
    }
}

static void go_down(struct mem_end *end, int status, int write_status, const char *reason)
{
    end->phase = MEM_DOWN;
    recall(end, write_status, end->conn->cut);
    discard(end, write_status);
    core_link_down(end->link, status, "%s", reason);
    if (end->peer->transport != NULL && end->peer->phase != MEM_DOWN)
        mem_wake(end->peer->transport);
}

void mem_end_abort(struct mem_end *end)
{
    end->conn->cut = true;
    go_down(end, -ECONNABORTED, -ECANCELED, "aborted by this side");
}

/* ---- emptying an inbox -------------------------------------------------------------------- */

static bool write_allowed(const struct mem_end *end, const struct embar_write *write)
{
    const struct embar_buffer *buffer = link_exposed_buffer(end->link);

    if (buffer == NULL || end->key_id == 0 || write->key.id != end->key_id)
        return false;
    return write->remote_offset <= buffer_size(buffer) &&
           write->len_bytes <= buffer_size(buffer) - write->remote_offset;
}

/* Places the peer's write and hands the item back to the peer as its completion. */
static void take_write(struct mem_end *end, struct mem_item *item)
{
    static const char refused[] = "a write with a key that is not valid, or outside of its buffer";
    const struct embar_write *write = &item->write;
    unsigned char *to;

    item->kind = MEM_DONE;
    if (write->loan != NULL) {
        core_arrival_lent(end->link, write->immediate,
                          (const unsigned char *)end->lent.addr + write->offset, write->len_bytes);
        deliver(end->peer, item);
        return;
    }
    if (!write_allowed(end, write)) {
        item->status = -EACCES;
        deliver(end->peer, item);
        mem_push_bye(end->peer, -EACCES, refused);
        go_down(end, -EACCES, -ECANCELED, refused);
        return;
    }
    to = (unsigned char *)buffer_addr(link_exposed_buffer(end->link)) + write->remote_offset;
    if (write->buffer != NULL)
        memcpy(to, (const unsigned char *)buffer_addr(write->buffer) + write->offset,
               write->len_bytes);
    if (item->corrupt)
        to[item->corrupt_offset % write->len_bytes] ^= 0x10;
    core_arrival(end->link, write->immediate, write->len_bytes);
    deliver(end->peer, item);
}

static void take(struct mem_end *end, struct mem_item *item)
{
    end->receives++;
    switch (item->kind) {
    case MEM_ACCEPTED:
        if (end->phase == MEM_CONNECTING) {
            end->phase = MEM_UP;
            core_link_up(end->link);
        }
        break;
    case MEM_MESSAGE:
        end->peer->messages_waiting--;
        core_message(end->link, item->data, item->len_bytes);
        break;
    case MEM_WRITE:
        take_write(end, item);
        return;
    case MEM_DONE:
        core_write_done(end->link, item->write.token, item->write.len_bytes, item->status);
        break;
    case MEM_BYE:
        go_down(end, end->phase == MEM_LEAVING ? 0 : item->status,
                item->status == 0 ? -ECANCELED : item->status, (const char *)item->data);
        break;
    }
    free(item);
}

static bool is_due(const struct mem_end *end, const struct mem_item *item)
{
    return item->due_step <= end->transport->step;
}

/* Without reorder the oldest item, once due. With it any write or completion that is due, or the
 * oldest of the others, by the seed; ACCEPTED always first and BYE always last. */
static struct mem_item **choose(struct mem_end *end)
{
    struct mem_item **chosen = NULL;
    uint64_t candidates = 0;
    bool other_seen = false;

    if (end->inbox == NULL)
        return NULL;
    if (!end->transport->settings->reorder || end->inbox->kind == MEM_ACCEPTED)
        return is_due(end, end->inbox) ? &end->inbox : NULL;
    for (struct mem_item **at = &end->inbox; *at != NULL; at = &(*at)->next) {
        struct mem_item *item = *at;
        bool free_order = item->kind == MEM_WRITE || item->kind == MEM_DONE;

        if (item->kind == MEM_BYE && at != &end->inbox)
            break;
        if (!free_order && other_seen)
            continue;
        other_seen = other_seen || !free_order;
        if (is_due(end, item) && mem_random(end->transport) % ++candidates == 0)
            chosen = at;
    }
    return chosen;
}

static bool must_leave(struct mem_end *end)
{
    if (end->phase != MEM_LEAVING)
        return false;
    if (end->peer->inbox == NULL || end->peer->phase == MEM_DOWN || end->drain_steps_left == 0)
        return true;
    end->drain_steps_left--;
    return false;
}

bool mem_end_has_work(const struct mem_end *end)
{
    if (end->phase == MEM_DOWN)
        return false;
    return end->inbox != NULL || end->phase == MEM_LEAVING || end->conn->cut;
}

int mem_end_progress(struct mem_end *end, int budget)
{
    int handled = 0;

    if (end->phase != MEM_DOWN && end->conn->cut)
        go_down(end, -ECONNRESET, -ECONNRESET, "the connection was cut");
    while (end->phase != MEM_DOWN && handled < budget) {
        struct mem_item **at = choose(end);
        struct mem_item *item;

        if (at == NULL)
            break;
        item = *at;
        *at = item->next;
        take(end, item);
        handled++;
    }
    if (must_leave(end))
        go_down(end, 0, -ECANCELED, "ended by this side");
    return handled;
}
