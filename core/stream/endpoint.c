/*
 * Joining links to peers: events of all transports come through endpoint_poll, which runs the
 * handshake and hands the rest to the role. Owns the conns and, with targets.c, the connecting.
 */
#include "stream/endpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/log.h"
#include "stream/targets.h"

#define EVENTS_PER_POLL 32
#define RETRY_NS        NS_PER_MS /* how soon a control message that found no room is sent again */

bool endpoint_may_retry(enum control_reject code)
{
    return code == REJECT_NONE || code == REJECT_CHECKSUM || code == REJECT_BUSY;
}

int endpoint_send(struct conn *conn, const struct control_message *message)
{
    uint8_t packed[CONTROL_BYTES];
    size_t len = control_pack(message, packed);
    int rc = embar_send(conn->link, packed, len);

    if (rc == -EAGAIN)
        conn->endpoint->retry_ns = conn->endpoint->now_ns + RETRY_NS;
    return rc;
}

/* Whether the link is over for us, though its LINK_DOWN is still to come. */
static bool is_ending(const struct conn *conn)
{
    return conn->state == CONN_LEAVING || conn->state == CONN_ENDING;
}

void endpoint_disconnect(struct conn *conn)
{
    const struct endpoint *endpoint = conn->endpoint;

    if (is_ending(conn))
        return;
    conn->state = conn->state == CONN_JOINED ? CONN_LEAVING : CONN_ENDING;
    conn->deadline_ns = endpoint->now_ns + endpoint->options->handshake_timeout_ns;
    embar_link_disconnect(conn->link);
}

void endpoint_end(struct conn *conn, enum control_reject code, const char *fmt, ...)
{
    struct control_message message = {.type = CONTROL_REJECT};
    va_list args;

    if (is_ending(conn))
        return;
    va_start(args, fmt);
    vsnprintf(message.reject.reason, sizeof message.reject.reason, fmt, args);
    va_end(args);
    message.reject.code = code;
    log_warn("link %" PRIu64 " to %s ended: %s", embar_link_id(conn->link),
             embar_link_peer(conn->link), message.reject.reason);
    conn->ended = code;
    snprintf(conn->reason, sizeof conn->reason, "%s", message.reject.reason);
    /* When the queue is full the peer learns of the end without its reason. */
    endpoint_send(conn, &message);
    endpoint_disconnect(conn);
}

struct conn *endpoint_conn_add(struct endpoint *endpoint, struct embar_link *link,
                               unsigned transport, struct target *target)
{
    struct conn *conn = calloc(1, sizeof *conn);

    if (!conn)
        return NULL;
    conn->endpoint = endpoint;
    conn->link = link;
    conn->target = target;
    conn->transport = transport;
    conn->state = CONN_OPENING;
    conn->deadline_ns = endpoint->now_ns + endpoint->options->handshake_timeout_ns;
    conn->next = endpoint->conns;
    endpoint->conns = conn;
    embar_link_set_user(link, conn);
    return conn;
}

static void conn_remove(struct conn *conn)
{
    struct conn **at = &conn->endpoint->conns;

    while (*at != conn)
        at = &(*at)->next;
    *at = conn->next;
    embar_link_set_user(conn->link, NULL);
    if (!conn->kept)
        embar_link_close(conn->link);
    free(conn);
}

static void handle_request(struct endpoint *endpoint, unsigned transport, struct embar_link *link)
{
    struct conn *conn = endpoint_conn_add(endpoint, link, transport, NULL);

    if (!conn) {
        embar_reject(link, "out of memory");
        return; /* its LINK_DOWN is met by handle_event with no conn */
    }
    endpoint->pending++;
    if (endpoint->pending > ENDPOINT_PENDING) {
        embar_reject(link, "too many handshakes at once, try again");
        endpoint_disconnect(conn);
    } else if (embar_accept(link) < 0) {
        endpoint_disconnect(conn);
    }
}

static void say_hello(struct conn *conn, enum control_type type)
{
    struct endpoint *endpoint = conn->endpoint;
    struct control_message message = {.type = type};

    message.hello.version = CONTROL_VERSION;
    message.hello.role = (uint8_t)endpoint->role->role;
    message.hello.instance = endpoint->instance;
    snprintf(message.hello.stream, sizeof message.hello.stream, "%s", endpoint->options->stream);
    endpoint->role->hello(endpoint->self, &message.hello);
    endpoint_send(conn, &message);
}

static void handle_up(struct conn *conn)
{
    conn->state = CONN_HELLO;
    conn->deadline_ns = conn->endpoint->now_ns + conn->endpoint->options->handshake_timeout_ns;
    if (conn->target)
        say_hello(conn, CONTROL_HELLO);
}

static const char *role_name(unsigned role)
{
    return role == ROLE_PUBLISHER ? "publisher" : role == ROLE_SUBSCRIBER ? "subscriber" : "?";
}

static enum control_reject admit(struct conn *conn, const struct control_hello *hello, char *reason,
                                 size_t reason_bytes)
{
    struct endpoint *endpoint = conn->endpoint;

    if (hello->version != CONTROL_VERSION) {
        snprintf(reason, reason_bytes, "protocol version %u met version %u: run the same release",
                 hello->version, CONTROL_VERSION);
        return REJECT_VERSION;
    }
    if (hello->role == endpoint->role->role || strcmp(role_name(hello->role), "?") == 0) {
        snprintf(reason, reason_bytes, "a %s cannot join a %s", role_name(hello->role),
                 role_name(endpoint->role->role));
        return REJECT_ROLE;
    }
    if (strcmp(hello->stream, endpoint->options->stream) != 0) {
        snprintf(reason, reason_bytes, "stream '%.100s' was asked for, this is stream '%.100s'",
                 hello->stream, endpoint->options->stream);
        return REJECT_STREAM;
    }
    if (hello->instance == 0) {
        snprintf(reason, reason_bytes, "instance id 0");
        return REJECT_PROTOCOL;
    }
    return endpoint->role->admit(endpoint->self, conn, hello, reason, reason_bytes);
}

static void handle_hello(struct conn *conn, const struct control_message *message)
{
    struct endpoint *endpoint = conn->endpoint;
    enum control_type expected = conn->target ? CONTROL_WELCOME : CONTROL_HELLO;
    char reason[CONTROL_REASON];
    enum control_reject code;

    if (message->type != expected) {
        endpoint_end(conn, REJECT_PROTOCOL, "%s came where %s was due", control_name(message->type),
                     control_name(expected));
        return;
    }
    code = admit(conn, &message->hello, reason, sizeof reason);
    if (code != REJECT_NONE) {
        endpoint_end(conn, code, "%s", reason);
        return;
    }
    if (!conn->target)
        endpoint->pending--;
    conn->state = CONN_JOINED;
    if (!conn->target)
        say_hello(conn, CONTROL_WELCOME);
    endpoint->role->joined(endpoint->self, conn, &message->hello);
}

static void handle_message(struct conn *conn, const struct embar_event *event)
{
    struct endpoint *endpoint = conn->endpoint;
    struct control_message message;
    struct embar_diag diag = {0};

    if (is_ending(conn))
        return;
    if (control_unpack(event->data, event->len_bytes, &message, &diag) < 0) {
        endpoint_end(conn, REJECT_PROTOCOL, "%s", diag.text);
    } else if (message.type == CONTROL_REJECT) {
        conn->ended = message.reject.code;
        snprintf(conn->reason, sizeof conn->reason, "%s", message.reject.reason);
        endpoint_disconnect(conn);
    } else if (conn->state == CONN_HELLO) {
        handle_hello(conn, &message);
    } else if (endpoint->role->message(endpoint->self, conn, &message, &diag) < 0) {
        endpoint_end(conn, REJECT_PROTOCOL, "%s", diag.text);
    }
}

static void handle_arrival(struct conn *conn, const struct embar_event *event)
{
    struct endpoint *endpoint = conn->endpoint;
    struct embar_diag diag = {0};

    if (is_ending(conn))
        return;
    if (conn->state != CONN_JOINED)
        endpoint_end(conn, REJECT_PROTOCOL, "a batch came before the handshake was done");
    else if (endpoint->role->arrival(endpoint->self, conn, event, &diag) < 0)
        endpoint_end(conn,
                     diag.error == EBADMSG  ? REJECT_CHECKSUM
                     : diag.error == ENOMEM ? REJECT_BUSY
                                            : REJECT_PROTOCOL,
                     "%s", diag.text);
}

static void handle_down(struct conn *conn, const struct embar_event *event)
{
    struct endpoint *endpoint = conn->endpoint;
    const char *reason = conn->ended != REJECT_NONE ? conn->reason : event->reason;

    if (conn->state == CONN_JOINED || conn->state == CONN_LEAVING)
        endpoint->role->down(endpoint->self, conn, event->status, reason);
    else if (!conn->target)
        endpoint->pending--;
    if (conn->target)
        target_link_down(conn, event->status, reason);
    conn_remove(conn);
}

static void handle_event(struct endpoint *endpoint, unsigned transport,
                         const struct embar_event *event)
{
    struct conn *conn = embar_link_user(event->link);

    if (event->type == EMBAR_EVENT_LINK_REQUEST) {
        handle_request(endpoint, transport, event->link);
        return;
    }
    if (!conn) {
        if (event->type == EMBAR_EVENT_LINK_DOWN)
            embar_link_close(event->link);
        return;
    }
    switch (event->type) {
    case EMBAR_EVENT_LINK_UP:
        if (conn->state == CONN_OPENING)
            handle_up(conn);
        break;
    case EMBAR_EVENT_LINK_DOWN:
        handle_down(conn, event);
        break;
    case EMBAR_EVENT_MESSAGE:
        handle_message(conn, event);
        break;
    case EMBAR_EVENT_WRITE_DONE:
        endpoint->role->write_done(endpoint->self, conn, event->token, event->status);
        break;
    case EMBAR_EVENT_ARRIVAL:
        handle_arrival(conn, event);
        break;
    case EMBAR_EVENT_LINK_REQUEST:
        break;
    }
}

/* Whether the link's deadline means anything. Joined links have none, and the backend bounds a
 * single attempt to connect. */
static bool has_deadline(const struct conn *conn)
{
    return conn->state != CONN_JOINED && !(conn->state == CONN_OPENING && conn->target);
}

static void check_links(struct endpoint *endpoint)
{
    for (struct conn *conn = endpoint->conns; conn; conn = conn->next) {
        if (!has_deadline(conn) || endpoint->now_ns < conn->deadline_ns)
            continue;
        if (is_ending(conn)) {
            conn->deadline_ns = UINT64_MAX;
            embar_link_abort(conn->link);
        } else if (conn->state == CONN_HELLO) {
            endpoint_end(conn, REJECT_BUSY, "no handshake within handshake_timeout");
        } else {
            endpoint_disconnect(conn);
        }
    }
}

int endpoint_poll(struct endpoint *endpoint, struct embar_diag *diag)
{
    struct embar_event events[EVENTS_PER_POLL];
    int total = 0;

    endpoint->now_ns = env_now_ns(endpoint->env);
    if (endpoint->now_ns >= endpoint->retry_ns)
        endpoint->retry_ns = 0; /* whoever had to wait tries in this round */
    for (unsigned t = 0; t < endpoint->transport_count; t++) {
        int n = embar_poll(endpoint->transports[t].transport, events, EVENTS_PER_POLL);
        if (n < 0)
            return diag_fail(diag, -n, "transport %s is lost: %s", endpoint->transports[t].name,
                             strerror(-n));
        for (int i = 0; i < n; i++)
            handle_event(endpoint, t, &events[i]);
        total += n;
    }
    if (total > 0)
        endpoint->active_ns = endpoint->now_ns;
    check_links(endpoint);
    targets_try(endpoint);
    return total;
}

uint64_t endpoint_deadline(const struct endpoint *endpoint)
{
    uint64_t deadline = targets_deadline(endpoint);

    if (endpoint->retry_ns && endpoint->retry_ns < deadline)
        deadline = endpoint->retry_ns;
    for (const struct conn *conn = endpoint->conns; conn; conn = conn->next)
        if (has_deadline(conn) && conn->deadline_ns < deadline)
            deadline = conn->deadline_ns;
    return deadline;
}
