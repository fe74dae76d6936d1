/*
 * The connecting side. Each target tries the transports in the order of preference, then waits
 * (50 ms doubling to 1 s) and begins again, until it has joined, its deadline has passed
 * (connect_timeout at first, reconnect_timeout after a loss), or the peer refused for good. A link
 * that is lost before any batch has moved over it counts as an attempt that failed: peers that join
 * and fail at once must not keep each other busy.
 */
#include "stream/targets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "common/log.h"

#define BACKOFF_FIRST_NS (50 * NS_PER_MS)
#define BACKOFF_MOST_NS  NS_PER_S

int targets_open(struct endpoint *endpoint, const char *connect)
{
    char list[OPTION_LIST_BYTES];
    char *rest = NULL;
    unsigned most = 1;

    for (const char *c = connect; *c; c++)
        most += *c == ',';
    endpoint->targets = calloc(most, sizeof *endpoint->targets);
    if (!endpoint->targets)
        return -ENOMEM;
    snprintf(list, sizeof list, "%s", connect);
    for (char *item = strtok_r(list, ", ", &rest); item; item = strtok_r(NULL, ", ", &rest)) {
        struct target *target = &endpoint->targets[endpoint->target_count++];

        snprintf(target->address, sizeof target->address, "%s", item);
        target->backoff_ns = BACKOFF_FIRST_NS;
        target->deadline_ns = endpoint->now_ns + endpoint->options->connect_timeout_ns;
    }
    return 0;
}

static void target_fail(struct endpoint *endpoint, struct target *target)
{
    target->state = TARGET_FAILED;
    endpoint->role->target_failed(endpoint->self, target);
}

/* Remembers why a preferred transport was passed over, for the report. */
static void note_passed_over(struct endpoint *endpoint, const struct target *target,
                             const char *reason)
{
    snprintf(endpoint->why, sizeof endpoint->why, "%s to %.60s: %.180s",
             endpoint->transports[target->transport].name, target->address, reason);
}

/* The next attempt comes after a pause, which is longer each time. */
static void back_off(struct endpoint *endpoint, struct target *target)
{
    target->next_ns = endpoint->now_ns + target->backoff_ns;
    target->backoff_ns *= 2;
    if (target->backoff_ns > BACKOFF_MOST_NS)
        target->backoff_ns = BACKOFF_MOST_NS;
}

static void attempt_failed(struct endpoint *endpoint, struct target *target, int status,
                           const char *reason)
{
    target->failure.error = status < 0 ? -status : ECONNREFUSED;
    snprintf(target->failure.text, sizeof target->failure.text, "%s", reason);
    target->state = TARGET_WAITING;
    if (target->transport + 1 < endpoint->transport_count) {
        note_passed_over(endpoint, target, reason);
        target->transport++;
        target->next_ns = endpoint->now_ns;
        return;
    }
    log_debug("attempt to connect to %s failed: %s", target->address, reason);
    target->transport = 0;
    back_off(endpoint, target);
}

static void attempt(struct endpoint *endpoint, struct target *target)
{
    struct embar_transport *transport = endpoint->transports[target->transport].transport;
    struct embar_diag diag = {0};
    struct embar_link *link;
    int rc = embar_connect(transport, target->address, &link, &diag);

    if (rc == -ENOENT && endpoint->transport_count == 1) {
        target->failure = diag; /* no such host: waiting does not help */
        target_fail(endpoint, target);
        return;
    }
    if (rc < 0) {
        attempt_failed(endpoint, target, rc, diag.text);
        return;
    }
    target->state = TARGET_TRYING;
    if (!endpoint_conn_add(endpoint, link, target->transport, target)) {
        embar_link_disconnect(link);
        attempt_failed(endpoint, target, -ENOMEM, "out of memory");
    }
}

void targets_try(struct endpoint *endpoint)
{
    for (unsigned i = 0; i < endpoint->target_count; i++) {
        struct target *target = &endpoint->targets[i];
        uint64_t now = endpoint->now_ns;

        if (target->state != TARGET_WAITING || now < target->next_ns)
            continue;
        if (target->deadline_ns && now >= target->deadline_ns && target->failure.error) {
            const char *key = target->joined_before ? "reconnect_timeout" : "connect_timeout";
            diag_prefix(&target->failure, "no link to %s within %s", target->address, key);
            target_fail(endpoint, target);
            continue;
        }
        attempt(endpoint, target);
    }
}

uint64_t targets_deadline(const struct endpoint *endpoint)
{
    uint64_t deadline = UINT64_MAX;

    for (unsigned i = 0; i < endpoint->target_count; i++) {
        const struct target *target = &endpoint->targets[i];

        if (target->state == TARGET_WAITING && target->next_ns < deadline)
            deadline = target->next_ns;
    }
    return deadline;
}

void target_joined(struct conn *conn)
{
    struct target *target = conn->target;

    if (!target)
        return;
    target->state = TARGET_JOINED;
    target->joined_before = true;
    target->worked = false;
    target->failure = (struct embar_diag){0};
    if (target->transport == 0)
        conn->endpoint->why[0] = '\0';
    else
        log_warn("%s is used to reach %s: %s", conn->endpoint->transports[target->transport].name,
                 target->address, conn->endpoint->why);
}

void target_works(struct target *target)
{
    target->worked = true;
    target->backoff_ns = BACKOFF_FIRST_NS;
}

void target_link_down(struct conn *conn, int status, const char *reason)
{
    struct endpoint *endpoint = conn->endpoint;
    struct target *target = conn->target;

    if (target->state == TARGET_FAILED)
        return;
    if (!endpoint_may_retry(conn->ended)) {
        diag_fail(&target->failure, ECONNREFUSED, "%s refused: %s", target->address, reason);
        target_fail(endpoint, target);
        return;
    }
    if (target->state != TARGET_JOINED) {
        attempt_failed(endpoint, target, status < 0 ? status : -ECONNREFUSED, reason);
        return;
    }
    target->failure.error = status < 0 ? -status : ECONNRESET;
    snprintf(target->failure.text, sizeof target->failure.text, "%s", reason);
    target->state = TARGET_WAITING;
    target->transport = 0;
    if (target->worked)
        target->next_ns = endpoint->now_ns;
    else
        back_off(endpoint, target);
    if (target->deadline_ns)
        target->deadline_ns = endpoint->now_ns + endpoint->options->reconnect_timeout_ns;
}

void target_finished(struct target *target, bool stop)
{
    target->deadline_ns = 0;
    target->next_ns = 0;
    if (stop)
        target->state = TARGET_FAILED;
}
