/*
 * The surroundings of a conformance test (see world.h): transports, links, the record of events and
 * the checks that every poll makes. The test's one thread.
 */
#include "conformance/world.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"

#define POLL_EVENTS   16
#define BOUND_SECONDS 60u

struct subject subject;

static _Atomic unsigned complaints; /* of core about the backend */
static char last_complaint[EMBAR_DIAG_BYTES];

static void watch_log(enum embar_log_level level, const char *line, void *user)
{
    (void)level;
    (void)user;
    if (strncmp(line, "bug in backend", strlen("bug in backend")) != 0)
        return;
    atomic_fetch_add(&complaints, 1);
    snprintf(last_complaint, sizeof(last_complaint), "%s", line);
}

static void *grown(void *array, size_t count, size_t item_bytes)
{
    if ((count & (count - 1)) == 0) { /* full at each power of two */
        array = realloc(array, (count > 0 ? count * 2 : 1) * item_bytes);
        assert_non_null(array);
    }
    return array;
}

/* ---- recording events --------------------------------------------------------------------- */

static struct end *end_create(struct side *side, struct embar_link *link)
{
    struct end *end = calloc(1, sizeof(*end));

    assert_non_null(end);
    end->side = side;
    end->link = link;
    end->next = side->ends;
    side->ends = end;
    embar_link_set_user(link, end);
    return end;
}

static void record_done(struct end *end, const struct embar_event *event)
{
    assert_true(event->token < end->posted);
    for (size_t i = 0; i < end->done_count; i++)
        assert_int_not_equal(end->dones[i].token, event->token); /* ends once */
    end->dones = grown(end->dones, end->done_count, sizeof(*end->dones));
    end->dones[end->done_count++] = (struct done){event->token, event->status};
}

static void record_message(struct end *end, const struct embar_event *event)
{
    struct message message = {event->len_bytes, malloc(event->len_bytes)};

    assert_non_null(message.data);
    memcpy(message.data, event->data, event->len_bytes);
    end->messages = grown(end->messages, end->message_count, sizeof(*end->messages));
    end->messages[end->message_count++] = message;
}

static void record_down(struct end *end, const struct embar_event *event)
{
    end->down = true;
    end->down_status = event->status;
    assert_true(event->status <= 0);
    assert_non_null(event->reason);
    assert_true(strlen(event->reason) > 0);
    snprintf(end->reason, sizeof(end->reason), "%s", event->reason);
    assert_int_equal(end->done_count, end->posted); /* every write has ended before */
}

static void record(struct side *side, const struct embar_event *event)
{
    struct end *end;

    assert_non_null(event->link);
    end = embar_link_user(event->link);
    if (event->type == EMBAR_EVENT_LINK_REQUEST) {
        assert_null(end);
        end = end_create(side, event->link);
        end->listener = event->listener;
        end->requested = true;
        return;
    }
    assert_non_null(end);
    assert_false(end->down); /* LINK_DOWN is the last */
    switch (event->type) {
    case EMBAR_EVENT_LINK_UP:
        assert_false(end->up);
        end->up = true;
        return;
    case EMBAR_EVENT_LINK_DOWN:
        record_down(end, event);
        return;
    case EMBAR_EVENT_MESSAGE:
        assert_true(end->up);
        record_message(end, event);
        return;
    case EMBAR_EVENT_WRITE_DONE:
        record_done(end, event);
        return;
    case EMBAR_EVENT_ARRIVAL:
        assert_true(end->up);
        end->arrivals = grown(end->arrivals, end->arrival_count, sizeof(*end->arrivals));
        end->arrivals[end->arrival_count++] =
            (struct arrival){event->immediate, event->len_bytes, event->data};
        return;
    case EMBAR_EVENT_LINK_REQUEST:
        break;
    }
    fail_msg("an event of unknown type %d", (int)event->type);
}

int side_poll(struct side *side)
{
    struct embar_event events[POLL_EVENTS];
    int count = embar_poll(side->transport, events, POLL_EVENTS);

    assert_in_range(count, 0, POLL_EVENTS);
    for (int i = 0; i < count; i++)
        record(side, &events[i]);
    return count;
}

int world_poll(struct world *world)
{
    return side_poll(&world->client) + side_poll(&world->server);
}

uint64_t world_bound(void)
{
    return env_now_ns(&env_system) + BOUND_SECONDS * NS_PER_S;
}

bool world_past(uint64_t bound)
{
    return env_now_ns(&env_system) > bound;
}

bool world_can_map(const struct world *world)
{
    return (embar_transport_caps(world->client.transport)->flags & EMBAR_CAP_MAPPED) != 0;
}

void world_settle(struct world *world)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    unsigned quiet = 0;

    while (quiet < 50) {
        if (world_poll(world) > 0) {
            quiet = 0;
            continue;
        }
        quiet++;
        nanosleep(&pause, NULL);
    }
}

/* ---- opening and closing ------------------------------------------------------------------ */

struct embar_transport *subject_open(void)
{
    struct embar_transport *transport = NULL;
    struct embar_diag diag = {0};

    if (embar_transport_open(subject.backend, subject.settings, &transport, &diag) < 0)
        fail_msg("cannot open %s: %s", subject.backend, diag.text);
    return transport;
}

int world_setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    struct embar_diag diag = {0};

    assert_non_null(world);
    atomic_store(&complaints, 0);
    embar_log_set(EMBAR_LOG_DEBUG, watch_log, NULL);
    world->server.transport = subject_open();
    world->client.transport = subject_open();
    if (embar_listen(world->server.transport, subject.address, &world->listener, &diag) < 0)
        fail_msg("cannot listen: %s", diag.text);
    snprintf(world->address, sizeof(world->address), "%s", embar_listener_address(world->listener));
    *state = world;
    return 0;
}

static bool all_down(const struct side *side)
{
    for (const struct end *end = side->ends; end != NULL; end = end->next) {
        if (!end->down)
            return false;
    }
    return true;
}

void end_close(struct end *end)
{
    struct end **at = &end->side->ends;

    assert_int_equal(embar_link_close(end->link), 0);
    while (*at != end)
        at = &(*at)->next;
    *at = end->next;
    for (size_t i = 0; i < end->message_count; i++)
        free(end->messages[i].data);
    free(end->messages);
    free(end->arrivals);
    free(end->dones);
    free(end);
}

static void side_close(struct side *side)
{
    while (side->ends != NULL)
        end_close(side->ends);
    while (side->buffer_count > 0)
        side_free(side, side->buffers[0]);
    assert_int_equal(embar_transport_close(side->transport), 0);
}

int world_teardown(void **state)
{
    struct world *world = *state;

    if (world->listener != NULL)
        assert_int_equal(embar_listener_close(world->listener), 0);
    for (struct end *end = world->client.ends; end != NULL; end = end->next)
        assert_int_equal(embar_link_disconnect(end->link), 0);
    for (struct end *end = world->server.ends; end != NULL; end = end->next)
        assert_int_equal(embar_link_disconnect(end->link), 0);
    world_until(world, all_down(&world->client) && all_down(&world->server));
    side_close(&world->client);
    side_close(&world->server);
    free(world);
    embar_log_set(EMBAR_LOG_ERROR, NULL, NULL);
    if (atomic_load(&complaints) > 0)
        fail_msg("core complained %u times, the last time: %s", complaints, last_complaint);
    return 0;
}

/* ---- links -------------------------------------------------------------------------------- */

struct end *world_connect(struct world *world)
{
    struct embar_link *link = NULL;
    struct embar_diag diag = {0};

    if (embar_connect(world->client.transport, world->address, &link, &diag) < 0)
        fail_msg("cannot connect to %s: %s", world->address, diag.text);
    return end_create(&world->client, link);
}

static struct end *unanswered(struct side *side)
{
    struct end *end = side->ends;

    while (end != NULL && !end->requested)
        end = end->next;
    return end;
}

struct end *world_request(struct world *world)
{
    struct end *end;

    world_until(world, unanswered(&world->server) != NULL);
    end = unanswered(&world->server);
    end->requested = false;
    return end;
}

struct joined world_join(struct world *world)
{
    struct joined joined;

    joined.client = world_connect(world);
    joined.server = world_request(world);
    assert_int_equal(embar_accept(joined.server->link), 0);
    world_until(world, joined.client->up && joined.server->up);
    return joined;
}

void world_part(struct world *world, struct joined *joined)
{
    assert_int_equal(embar_link_disconnect(joined->client->link), 0);
    world_until(world, joined->client->down && joined->server->down);
    end_close(joined->client);
    end_close(joined->server);
    *joined = (struct joined){0};
}

/* ---- buffers and data --------------------------------------------------------------------- */

static struct embar_buffer *side_keep(struct side *side, struct embar_buffer *buffer)
{
    assert_true(side->buffer_count < sizeof(side->buffers) / sizeof(side->buffers[0]));
    side->buffers[side->buffer_count++] = buffer;
    return buffer;
}

struct embar_buffer *side_buffer(struct side *side, size_t size_bytes, uint32_t access)
{
    struct embar_buffer_options options = {
        .hugepages = EMBAR_HUGEPAGES_NEVER, .numa_node = -1, .access = access};
    struct embar_buffer *buffer = NULL;
    struct embar_diag diag = {0};

    if (embar_buffer_alloc(side->transport, size_bytes, &options, &buffer, &diag) < 0)
        fail_msg("no buffer: %s", diag.text);
    return side_keep(side, buffer);
}

struct embar_buffer *side_adopt(struct side *side, void *addr, size_t size_bytes)
{
    struct embar_buffer *buffer = NULL;
    struct embar_diag diag = {0};

    if (embar_buffer_adopt(side->transport, addr, size_bytes, 0, &buffer, &diag) < 0)
        fail_msg("no buffer: %s", diag.text);
    return side_keep(side, buffer);
}

void side_free(struct side *side, struct embar_buffer *buffer)
{
    unsigned i = 0;

    while (side->buffers[i] != buffer)
        i++;
    assert_int_equal(embar_buffer_free(buffer), 0);
    side->buffers[i] = side->buffers[--side->buffer_count];
}

unsigned char *buffer_bytes(const struct embar_buffer *buffer)
{
    struct embar_buffer_info info;

    embar_buffer_info(buffer, &info);
    return info.addr;
}

static unsigned char pattern_at(size_t i, uint32_t seed)
{
    return (unsigned char)((i * 2654435761u + seed * 40503u) >> 7);
}

void fill_pattern(unsigned char *bytes, size_t len_bytes, uint32_t seed)
{
    for (size_t i = 0; i < len_bytes; i++)
        bytes[i] = pattern_at(i, seed);
}

bool has_pattern(const unsigned char *bytes, size_t len_bytes, uint32_t seed)
{
    for (size_t i = 0; i < len_bytes; i++) {
        if (bytes[i] != pattern_at(i, seed))
            return false;
    }
    return true;
}

bool all_bytes_are(const unsigned char *bytes, size_t len_bytes, unsigned char value)
{
    for (size_t i = 0; i < len_bytes; i++) {
        if (bytes[i] != value)
            return false;
    }
    return true;
}

int end_write(struct end *end, const struct embar_write *write)
{
    struct embar_write numbered = *write;
    int rc;

    numbered.token = end->posted;
    rc = embar_write(end->link, &numbered);
    if (rc == 0)
        end->posted++;
    return rc;
}

void world_write(struct world *world, struct end *end, const struct embar_write *write)
{
    int rc;

    world_until(world, (rc = end_write(end, write)) != -EAGAIN);
    assert_int_equal(rc, 0);
}

void world_send(struct world *world, struct end *end, const void *data, size_t len_bytes)
{
    int rc;

    world_until(world, (rc = embar_send(end->link, data, len_bytes)) != -EAGAIN);
    assert_int_equal(rc, 0);
}

struct window world_window(struct world *world, struct joined *joined, size_t size_bytes)
{
    struct window window = {0};
    struct embar_diag diag = {0};

    window.source = side_buffer(&world->client, size_bytes, EMBAR_ACCESS_LOCAL);
    window.target = side_buffer(&world->server, size_bytes, EMBAR_ACCESS_REMOTE);
    if (embar_buffer_expose(window.target, joined->server->link, &window.key, &diag) < 0)
        fail_msg("cannot expose: %s", diag.text);
    return window;
}
