/*
 * Any bytes as what a peer does to a shm link: packets on its socket, before the link is up and
 * after, and stores anywhere into the control region, in any order with the polls of this side. The
 * process must survive, no event may speak of what cannot be, and the link must end when the socket
 * does.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <embar/transport.h>

#include "common/memory_share.h"
#include "shm/packet.h"
#include "shm/place.h"
#include "shm/ring.h"

#define BUFFER_BYTES 8192u
#define LENT_KEY     7u
#define POLLS        70 /* one of them asks the socket */

static struct embar_transport *transport;
static struct embar_listener *listener;
static struct embar_buffer *buffer;
static struct shm_region *region; /* used by one link after the other */
static struct shm_place place;
static int region_fd, memory_fd, lent_fd;
static int lease[2];

static struct embar_link *link_now;
static bool up, down;

static struct {
    const uint8_t *bytes;
    size_t len;
} input;

static void check(bool condition)
{
    if (!condition)
        abort();
}

static uint32_t take(size_t bytes)
{
    uint32_t value = 0;

    for (; bytes > 0 && input.len > 0; bytes--, input.len--)
        value = value << 8 | *input.bytes++;
    return value;
}

static void look_at(const struct embar_event *arrival)
{
    const volatile uint8_t *bytes = arrival->data;

    check(arrival->len_bytes > 0 && arrival->len_bytes <= BUFFER_BYTES);
    for (size_t i = 0; bytes != NULL && i < arrival->len_bytes; i++)
        (void)bytes[i];
}

static void poll_events(void)
{
    struct embar_event events[8];
    int count = embar_poll(transport, events, 8);

    check(count >= 0);
    for (int i = 0; i < count; i++) {
        check(events[i].link != NULL && !down);
        if (events[i].type == EMBAR_EVENT_LINK_REQUEST)
            link_now = events[i].link;
        else if (events[i].type == EMBAR_EVENT_LINK_UP)
            up = true;
        else if (events[i].type == EMBAR_EVENT_MESSAGE)
            check(events[i].len_bytes > 0 && events[i].len_bytes <= SHM_PAYLOAD);
        else if (events[i].type == EMBAR_EVENT_ARRIVAL)
            look_at(&events[i]);
        else if (events[i].type == EMBAR_EVENT_LINK_DOWN)
            down = strlen(events[i].reason) > 0;
    }
}

static void prepare(void)
{
    struct embar_buffer_options options = {.hugepages = EMBAR_HUGEPAGES_NEVER, .numa_node = -1};

    check(embar_transport_open("shm", NULL, &transport, NULL) == 0);
    check(embar_listen(transport, "127.0.0.1:0", &listener, NULL) == 0);
    check(embar_buffer_alloc(transport, BUFFER_BYTES, &options, &buffer, NULL) == 0);
    check(shm_place_find(embar_listener_address(listener), &place, NULL) == 0);
    region_fd = shm_region_create(&region);
    memory_fd = memory_share_create("fuzz", BUFFER_BYTES, 0);
    check(region_fd >= 0 && memory_fd >= 0);
    check(posix_fallocate(memory_fd, 0, BUFFER_BYTES) == 0);
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, lease) == 0);
    lent_fd = memory_share_create("fuzz", BUFFER_BYTES, 0);
    check(lent_fd >= 0 && posix_fallocate(lent_fd, 0, BUFFER_BYTES) == 0);
    check(memory_share_seal(lent_fd, true) == 0);
}

static void send_packet(int fd, enum shm_packet_type type, int passed, uint64_t size)
{
    const struct shm_packet packet = {
        .type = type, .fd = passed, .key = LENT_KEY, .size_bytes = size};

    (void)shm_packet_send(fd, &packet);
}

static void send_bytes(int fd)
{
    size_t len = take(1);

    if (len > input.len)
        len = input.len;
    (void)send(fd, input.bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    input.bytes += len;
    input.len -= len;
}

/* A cell that is well-formed but for what the input says. */
static void put_cell(struct shm_producer *tx, uint64_t key)
{
    struct shm_cell *cell = &region->halves[0].cells[tx->position % SHM_CELLS];

    cell->type = take(1) % 5;
    cell->len_bytes = take(2);
    cell->body.write.key = cell->type == SHM_CELL_LENT ? LENT_KEY : key;
    if (take(1) % 8 == 0)
        cell->body.write.key = take(4);
    cell->body.write.offset = take(1) % 2 == 0 ? take(2) : UINT64_MAX - take(2);
    atomic_store(&cell->commit, ++tx->position);
}

static void store(void)
{
    size_t offset = take(3) % sizeof(struct shm_region), len = take(1) % 64;

    for (; len > 0 && offset < sizeof(struct shm_region) && input.len > 0; len--)
        ((volatile uint8_t *)region)[offset++] = (uint8_t)take(1);
}

/* The words that steer this side: each half's first cache lines. */
static void steer(void)
{
    static const size_t fields[] = {
        offsetof(struct shm_half, exposed_key), offsetof(struct shm_half, exposures),
        offsetof(struct shm_half, consumed),    offsetof(struct shm_half, sleeping),
        offsetof(struct shm_half, wants_room),  offsetof(struct shm_half, end),
    };
    uint8_t *half = (uint8_t *)&region->halves[take(1) % 2];
    uint32_t value = take(2);

    memcpy(half + fields[take(1) % (sizeof(fields) / sizeof(fields[0]))], &value, sizeof(value));
}

/* With its lease or without, well or badly. */
static void lend(int fd)
{
    uint32_t how = take(1);

    if (how % 8 != 0)
        send_packet(fd, SHM_PACKET_LEASE, how % 8 != 3 ? lease[1] : region_fd, 0);
    send_packet(fd, SHM_PACKET_LEND, how % 8 != 1 ? lent_fd : memory_fd,
                how % 8 != 2 ? BUFFER_BYTES : take(2));
}

static void act(int fd, struct shm_producer *tx, uint64_t key)
{
    switch (take(1) % 9) {
    case 0:
        send_bytes(fd);
        break;
    case 1:
        send_packet(fd, (enum shm_packet_type)(take(1) % 10), -1, 0);
        break;
    case 2:
        send_packet(fd, SHM_PACKET_EXPOSE, take(1) % 2 == 0 ? memory_fd : region_fd, take(2));
        break;
    case 3:
        put_cell(tx, key);
        break;
    case 4:
        store();
        break;
    case 5:
        steer();
        break;
    case 6:
        lend(fd);
        break;
    case 7:
        if (up && !down)
            (void)embar_send(link_now, "answer", 1 + take(1) % 6);
        break;
    default:
        (void)embar_arm(transport);
        poll_events();
        break;
    }
}

static void run(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct shm_producer tx = {0};
    struct embar_key key = {0};

    link_now = NULL;
    up = down = false;
    check(fd >= 0 && connect(fd, (struct sockaddr *)&place.name, place.name_bytes) == 0);
    memset(region, 0, offsetof(struct shm_half, payload));
    memset(&region->halves[1], 0, offsetof(struct shm_half, payload));
    if (take(1) % 16 == 0)
        send_bytes(fd); /* instead of asking, or before */
    send_packet(fd, SHM_PACKET_REQUEST, region_fd, 0);
    for (int i = 0; i < POLLS && link_now == NULL; i++)
        poll_events();
    if (link_now != NULL && take(1) % 16 != 0)
        (void)embar_accept(link_now);
    poll_events();
    if (up && !down)
        (void)embar_buffer_expose(buffer, link_now, &key, NULL);
    while (input.len > 0)
        act(fd, &tx, key.id);
    close(fd);
    for (int i = 0; i < 4 * POLLS && !down; i++)
        poll_events();
    check(link_now == NULL || down);
    check(link_now == NULL || embar_link_close(link_now) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (transport == NULL)
        prepare();
    input.bytes = data;
    input.len = size;
    run();
    return 0;
}
