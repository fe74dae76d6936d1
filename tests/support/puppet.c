/*
 * The ops of the puppet backend (see puppet.h): each counts its call and returns what the test set.
 * Owns nothing but the one struct; the test's thread.
 */
#include "support/puppet.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/diag.h"
#include "transport/registry.h"

struct puppet puppet;

struct puppet_settings {
    uint64_t size;
};

static const struct option options[] = {
    {"puppet.size", OPTION_SIZE, offsetof(struct puppet_settings, size), "4KiB", 1, 1048576, NULL,
     "bytes", "A setting to set."},
};

static const struct option_table table = {options, 1};

static int fail(int rc, struct embar_diag *diag)
{
    return rc < 0 ? diag_fail(diag, -rc, "the puppet was told to fail") : 0;
}

static int puppet_open(struct embar_transport *transport, const void *settings,
                       struct embar_transport_caps *caps, struct embar_diag *diag)
{
    (void)transport;
    (void)caps;
    puppet.setting = ((const struct puppet_settings *)settings)->size;
    return fail(puppet.open_rc, diag);
}

static void puppet_close(struct embar_transport *transport)
{
    (void)transport;
    puppet.closes++;
}

static int puppet_progress(struct embar_transport *transport, int budget)
{
    (void)transport;
    (void)budget;
    puppet.progresses++;
    if (puppet.in_progress != NULL)
        puppet.in_progress(puppet.user);
    return puppet.progress_rc;
}

static int puppet_fd(const struct embar_transport *transport)
{
    (void)transport;
    return 12345;
}

static int puppet_arm(struct embar_transport *transport)
{
    (void)transport;
    return puppet.arm_rc;
}

static int puppet_listen(struct embar_listener *listener, const char *address, char *bound,
                         size_t bound_bytes, struct embar_diag *diag)
{
    (void)listener;
    snprintf(bound, bound_bytes, "%s", address);
    return fail(puppet.listen_rc, diag);
}

static void puppet_listener_close(struct embar_listener *listener)
{
    (void)listener;
    puppet.listener_closes++;
}

static int puppet_connect(struct embar_link *link, const char *address, struct embar_diag *diag)
{
    (void)link;
    (void)address;
    return fail(puppet.connect_rc, diag);
}

static int puppet_accept(struct embar_link *link)
{
    if (puppet.in_accept != NULL)
        puppet.in_accept(link);
    return puppet.accept_rc;
}

static int puppet_reject(struct embar_link *link, const char *reason)
{
    (void)link;
    puppet.rejects++;
    snprintf(puppet.reject_reason, sizeof(puppet.reject_reason), "%s", reason);
    return puppet.reject_rc;
}

static void puppet_disconnect(struct embar_link *link)
{
    (void)link;
    puppet.disconnects++;
}

static void puppet_abort(struct embar_link *link)
{
    puppet.aborts++;
    if (puppet.in_abort != NULL)
        puppet.in_abort(link);
}

static void puppet_destroy(struct embar_link *link)
{
    (void)link;
    puppet.destroys++;
}

static void puppet_stats(const struct embar_link *link, struct embar_link_stats *stats)
{
    (void)link;
    stats->lanes = 3;
}

static int puppet_reg(struct embar_buffer *buffer, struct embar_diag *diag)
{
    (void)buffer;
    return fail(puppet.reg_rc, diag);
}

static void puppet_unreg(struct embar_buffer *buffer)
{
    (void)buffer;
    puppet.unregs++;
}

static int puppet_expose(struct embar_buffer *buffer, struct embar_link *link,
                         struct embar_key *key, struct embar_diag *diag)
{
    (void)link;
    if (puppet.expose_rc < 0)
        return fail(puppet.expose_rc, diag);
    puppet.exposes++;
    *key = (struct embar_key){.id = 1, .size = buffer_size(buffer)};
    return 0;
}

static void puppet_unexpose(struct embar_buffer *buffer, struct embar_link *link)
{
    (void)buffer;
    (void)link;
    puppet.unexposes++;
}

static int puppet_write(struct embar_link *link, const struct embar_write *write)
{
    (void)link;
    if (puppet.write_rc == 0)
        puppet.tokens[puppet.writes++] = write->token;
    return puppet.write_rc;
}

static int puppet_send(struct embar_link *link, const void *data, size_t len_bytes)
{
    (void)link;
    (void)data;
    (void)len_bytes;
    puppet.sends++;
    return puppet.send_rc;
}

static const struct backend_transport_ops transport_ops = {
    .open = puppet_open,
    .close = puppet_close,
    .progress = puppet_progress,
    .fd = puppet_fd,
    .arm = puppet_arm,
};
static const struct backend_listener_ops listener_ops = {
    .listen = puppet_listen,
    .close = puppet_listener_close,
};
static const struct backend_link_ops link_ops = {
    .connect = puppet_connect,
    .accept = puppet_accept,
    .reject = puppet_reject,
    .disconnect = puppet_disconnect,
    .abort = puppet_abort,
    .destroy = puppet_destroy,
    .stats = puppet_stats,
};
static const struct backend_buffer_ops buffer_ops = {
    .reg = puppet_reg,
    .unreg = puppet_unreg,
    .expose = puppet_expose,
    .unexpose = puppet_unexpose,
};
static const struct backend_data_ops data_ops = {
    .write = puppet_write, .send = puppet_send, .map = backend_map_none};

const struct backend backend_puppet = {
    .name = "puppet",
    .summary = "does what a test says",
    .options = &table,
    .settings_size = sizeof(struct puppet_settings),
    .caps = {.name = "puppet",
             .max_writes = PUPPET_MAX_WRITES,
             .max_write_bytes = 1 << 20,
             .max_send_bytes = 64},
    .transport = &transport_ops,
    .listener = &listener_ops,
    .link = &link_ops,
    .buffer = &buffer_ops,
    .data = &data_ops,
    .loan = &backend_loans_none,
};

void puppet_reset(void)
{
    puppet = (struct puppet){0};
    if (registry_find("puppet") == NULL && registry_add(&backend_puppet) < 0)
        abort();
}
