/* Opening and closing an endpoint: its transports in the order of preference, listeners,
 * descriptors. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/log.h"
#include "stream/config.h"
#include "stream/endpoint.h"
#include "stream/targets.h"
#include "transport/registry.h"

#define GOODBYE_NS (200 * NS_PER_MS)
#define SPIN_NS    (30 * NS_PER_US) /* what sleeping and being woken cost, about */

static void note_why(struct endpoint *endpoint, const struct embar_diag *diag)
{
    size_t used = strlen(endpoint->unavailable);

    snprintf(endpoint->unavailable + used, sizeof endpoint->unavailable - used, "%s%s",
             used ? "; " : "", diag->text);
}

void endpoint_why(const struct endpoint *endpoint, char *text, size_t text_bytes)
{
    bool both = endpoint->unavailable[0] && endpoint->why[0];

    snprintf(text, text_bytes, "%s%s%s", endpoint->unavailable, both ? "; " : "", endpoint->why);
}

/* One transport, and its listener when there is an address to listen on. */
static int transport_add(struct endpoint *endpoint, const struct embar_config *config,
                         const char *name, const char *listen, struct embar_diag *diag)
{
    struct embar_transport *transport = NULL;
    struct embar_listener *listener = NULL;
    struct epoll_event interest = {.events = EPOLLIN};
    char **settings = config_settings(config, name);
    int rc;

    rc = transport_open_env(name, (const char *const *)settings, endpoint->env, &transport, diag);
    config_settings_free(settings);
    if (rc < 0)
        return rc;
    if (listen[0]) {
        rc = embar_listen(transport, listen, &listener, diag);
        if (rc < 0)
            goto close;
    }
    interest.data.u32 = endpoint->transport_count;
    if (epoll_ctl(endpoint->epoll_fd, EPOLL_CTL_ADD, embar_fd(transport), &interest) < 0) {
        rc = diag_fail(diag, errno, "cannot watch transport %s: %s", name, strerror(errno));
        goto unlisten;
    }
    endpoint->transports[endpoint->transport_count].name = embar_transport_caps(transport)->name;
    endpoint->transports[endpoint->transport_count].transport = transport;
    endpoint->transports[endpoint->transport_count].listener = listener;
    endpoint->transport_count++;
    if (listener && !endpoint->address[0])
        snprintf(endpoint->address, sizeof endpoint->address, "%s",
                 embar_listener_address(listener));
    return 0;

unlisten:
    if (listener)
        embar_listener_close(listener);
close:
    embar_transport_close(transport);
    return rc;
}

static int transports_open(struct endpoint *endpoint, const struct embar_config *config,
                           const char *listen, struct embar_diag *diag)
{
    const char *names[ENDPOINT_TRANSPORTS];
    struct embar_diag failure = {0};
    int count = config_transports(config, names, ENDPOINT_TRANSPORTS);
    int rc = -ENOENT;

    for (int i = 0; i < count; i++) {
        /* With port 0 the first listener finds a port; the others take the same one. */
        const char *where = endpoint->address[0] ? endpoint->address : listen;

        rc = transport_add(endpoint, config, names[i], listen[0] ? where : listen, &failure);
        if (rc == 0)
            continue;
        note_why(endpoint, &failure);
        if (count > 1)
            log_info("transport %s is not available: %s", names[i], failure.text);
    }
    if (endpoint->transport_count > 0)
        return 0;
    if (count <= 1) {
        if (diag)
            *diag = failure;
        return rc;
    }
    return diag_fail(diag, -rc, "none of the transports can be used: %s", endpoint->unavailable);
}

int endpoint_open(struct endpoint *endpoint, const struct embar_config *config,
                  const struct stream_options *options, const struct endpoint_role *role,
                  void *self, const char *listen, const char *connect, struct embar_diag *diag)
{
    struct epoll_event interest = {.events = EPOLLIN, .data.u32 = ENDPOINT_TRANSPORTS};
    int rc;

    memset(endpoint, 0, sizeof *endpoint);
    endpoint->role = role;
    endpoint->self = self;
    endpoint->options = options;
    endpoint->env = config_env(config);
    endpoint->now_ns = env_now_ns(endpoint->env);
    endpoint->spin_ns = SPIN_NS;
    endpoint->timer_ns = UINT64_MAX;
    do
        endpoint->instance = env_random(endpoint->env);
    while (endpoint->instance == 0);
    endpoint->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    endpoint->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (endpoint->epoll_fd < 0 || endpoint->timer_fd < 0 ||
        epoll_ctl(endpoint->epoll_fd, EPOLL_CTL_ADD, endpoint->timer_fd, &interest) < 0) {
        rc = diag_fail(diag, errno, "cannot open the stream's descriptors: %s", strerror(errno));
        goto fail;
    }
    rc = transports_open(endpoint, config, listen, diag);
    if (rc < 0)
        goto fail;
    if (!listen[0] && targets_open(endpoint, connect) < 0) {
        rc = diag_fail(diag, ENOMEM, "out of memory for the list of addresses");
        goto fail;
    }
    return 0;
fail:
    endpoint_close(endpoint);
    endpoint_free(endpoint);
    return rc;
}

void endpoint_close(struct endpoint *endpoint)
{
    uint64_t until = env_now_ns(endpoint->env) + GOODBYE_NS;
    struct embar_diag diag = {0};

    for (unsigned i = 0; i < endpoint->target_count; i++)
        endpoint->targets[i].state = TARGET_FAILED;
    for (unsigned t = 0; t < endpoint->transport_count; t++) {
        if (endpoint->transports[t].listener)
            embar_listener_close(endpoint->transports[t].listener);
        endpoint->transports[t].listener = NULL;
    }
    for (struct conn *conn = endpoint->conns; conn; conn = conn->next)
        endpoint_disconnect(conn);
    while (endpoint->conns && env_now_ns(endpoint->env) < until) {
        if (endpoint_poll(endpoint, &diag) < 0)
            break;
        if (endpoint->conns)
            endpoint_wait(endpoint, until);
    }
    for (struct conn *conn = endpoint->conns; conn; conn = conn->next)
        embar_link_abort(conn->link);
    while (endpoint->conns && endpoint_poll(endpoint, &diag) > 0)
        ;
}

void endpoint_free(struct endpoint *endpoint)
{
    for (unsigned t = 0; t < endpoint->transport_count; t++)
        if (embar_transport_close(endpoint->transports[t].transport) < 0)
            log_error("transport %s was closed with links that had not ended",
                      endpoint->transports[t].name);
    free(endpoint->targets);
    if (endpoint->timer_fd >= 0)
        close(endpoint->timer_fd);
    if (endpoint->epoll_fd >= 0)
        close(endpoint->epoll_fd);
}
