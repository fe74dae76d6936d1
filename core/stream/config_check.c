/*
 * What must hold between the keys of a configuration, each with a sentence that names the values,
 * where they came from and what is accepted; and which transports it asks for. Owns nothing; pure.
 */
#include <embar/transport.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "common/diag.h"
#include "common/text.h"
#include "stream/config_store.h"
#include "transport/registry.h"

#define SLOTS_MAX      65536
#define BATCH_MULTIPLE 64
#define TRANSPORTS_MAX 8
#define SHOWN_BYTES    192

/* "batch.size 512MiB (embar.yaml:12)"; returns `text`. */
static const char *shown(const struct embar_config *config, const char *name,
                         char text[SHOWN_BYTES])
{
    size_t key = config_find(config, name);
    char value[SHOWN_BYTES / 2], origin[SHOWN_BYTES / 2];

    option_format(&config->options[key], config->values, value, sizeof(value));
    config_origin(config, key, origin, sizeof(origin));
    return text_format(text, SHOWN_BYTES, "%s '%s' (%s)", name, value, origin);
}

/* Copies the next item of a comma-joined list; NULL past the end, else where to go on. */
static const char *next_item(const char *list, char *item, size_t item_bytes)
{
    size_t len = strcspn(list, ",");

    if (*list == '\0')
        return NULL;
    text_format(item, item_bytes, "%.*s", (int)len, list);
    return list + len + (list[len] == ',');
}

/* ---- transports -------------------------------------------------------------------------------
 */

/* The name in static storage, of a backend in this build or one that the design names; else NULL.
 */
static const char *known_transport(const char *name)
{
    const char *const *names = embar_transport_names();

    for (size_t i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0)
            return names[i];
    }
    for (unsigned i = 0; registry_designed(i) != NULL; i++) {
        if (strcmp(registry_designed(i), name) == 0)
            return registry_designed(i);
    }
    return NULL;
}

int config_transports(const struct embar_config *config, const char *names[], int capacity)
{
    const char *list = config_stream(config)->transport;
    char item[OPTION_LIST_BYTES];
    int count = 0;

    if (strcmp(list, "auto") == 0) {
        for (; registry_designed((unsigned)count) != NULL; count++) {
            if (count == capacity)
                return -ENOSPC;
            names[count] = registry_designed((unsigned)count);
        }
        return count;
    }
    while ((list = next_item(list, item, sizeof(item))) != NULL) {
        const char *name = known_transport(item);

        if (name == NULL)
            return -EINVAL;
        if (count == capacity)
            return -ENOSPC;
        names[count++] = name;
    }
    return count;
}

/* Names, each once, and 'auto' by itself. */
static int check_transport_names(const struct embar_config *config, struct embar_diag *diag)
{
    const char *list = config_stream(config)->transport, *seen[TRANSPORTS_MAX];
    char item[OPTION_LIST_BYTES], text[SHOWN_BYTES];
    size_t count = 0;

    shown(config, "transport", text);
    if (list[0] == '\0')
        return diag_fail(diag, EINVAL, "%s names none: write auto, or some of shm, rdma, tcp",
                         text);
    if (strcmp(list, "auto") == 0)
        return 0;
    while ((list = next_item(list, item, sizeof(item))) != NULL) {
        const char *name = known_transport(item);

        if (strcmp(item, "auto") == 0)
            return diag_fail(diag, EINVAL, "%s: 'auto' stands for all, so it must stand alone",
                             text);
        if (name == NULL)
            return diag_fail(diag, EINVAL,
                             "%s: '%s' is not a transport; write auto, or some of shm, rdma, tcp",
                             text, item);
        for (size_t i = 0; i < count; i++) {
            if (seen[i] == name)
                return diag_fail(diag, EINVAL, "%s names %s twice", text, name);
        }
        if (count == TRANSPORTS_MAX)
            return diag_fail(diag, EINVAL, "%s names more than %d", text, TRANSPORTS_MAX);
        seen[count++] = name;
    }
    return 0;
}

/* At least one must be in this build. */
static int check_transports(const struct embar_config *config, struct embar_diag *diag)
{
    const char *names[TRANSPORTS_MAX];
    char text[SHOWN_BYTES], why[EMBAR_DIAG_BYTES] = "";
    int count, rc = check_transport_names(config, diag);

    if (rc != 0)
        return rc;
    count = config_transports(config, names, TRANSPORTS_MAX);
    for (int i = 0; i < count; i++) {
        const char *missing = registry_missing(names[i]);
        size_t len = strlen(why);

        if (missing == NULL)
            return 0;
        text_format(why + len, sizeof(why) - len, "%s%s", len > 0 ? "; " : "", missing);
    }
    return diag_fail(diag, ENOTSUP, "%s: %s", shown(config, "transport", text), why);
}

/* ---- addresses --------------------------------------------------------------------------------
 */

static int check_address(const struct embar_config *config, const char *name, const char *address,
                         bool passive, struct embar_diag *diag)
{
    char host[ADDRESS_BYTES], port[8], text[SHOWN_BYTES];
    int rc = address_split(address, host, sizeof(host), port, sizeof(port), diag);

    if (rc != 0) {
        diag_prefix(diag, "%s", shown(config, name, text));
        return rc;
    }
    if (!passive && (host[0] == '\0' || strtoul(port, NULL, 10) == 0))
        return diag_fail(diag, EINVAL,
                         "%s: '%s' is no address to connect to; write HOST:PORT with a port of 1 "
                         ".. 65535",
                         shown(config, name, text), address);
    return 0;
}

static int check_connect(const struct embar_config *config, const char *name, const char *list,
                         struct embar_diag *diag)
{
    char item[OPTION_LIST_BYTES], other[OPTION_LIST_BYTES], text[SHOWN_BYTES];
    const char *rest = list;
    int rc;

    while ((rest = next_item(rest, item, sizeof(item))) != NULL) {
        const char *later = rest;

        rc = check_address(config, name, item, false, diag);
        if (rc != 0)
            return rc;
        while ((later = next_item(later, other, sizeof(other))) != NULL) {
            if (strcmp(item, other) == 0)
                return diag_fail(diag, EINVAL, "%s names %s twice: a link to each is enough",
                                 shown(config, name, text), item);
        }
    }
    return 0;
}

/* Exactly one of the two says how the role meets its peers. */
static int check_role(const struct embar_config *config, const char *role, const char *connect,
                      const char *listen, struct embar_diag *diag)
{
    char name[64];

    if (connect[0] == '\0' && listen[0] == '\0')
        return diag_fail(diag, EINVAL,
                         "neither %s.connect nor %s.listen is given: give one of them", role, role);
    if (connect[0] != '\0')
        return check_connect(config, text_format(name, sizeof(name), "%s.connect", role), connect,
                             diag);
    return check_address(config, text_format(name, sizeof(name), "%s.listen", role), listen, true,
                         diag);
}

/* ---- geometry ---------------------------------------------------------------------------------
 */

static int check_geometry(const struct embar_config *config, struct embar_diag *diag)
{
    const struct stream_options *o = config_stream(config);
    char batch[SHOWN_BYTES], buffer[SHOWN_BYTES], in_flight[SHOWN_BYTES];
    uint64_t slots = o->buffer_size / o->batch_size;

    shown(config, "batch.size", batch);
    shown(config, "buffer.size", buffer);
    shown(config, "batch.in_flight", in_flight);
    if (o->batch_size % BATCH_MULTIPLE != 0)
        return diag_fail(diag, EINVAL, "%s is not a multiple of %d bytes", batch, BATCH_MULTIPLE);
    if (slots == 0)
        return diag_fail(diag, EINVAL, "%s does not fit into %s: at most half of it is accepted",
                         batch, buffer);
    if (slots == 1)
        return diag_fail(diag, EINVAL, "%s leaves %s one slot only: at least two are needed", batch,
                         buffer);
    if (slots > SLOTS_MAX)
        return diag_fail(diag, EINVAL, "%s cuts %s into %" PRIu64 " slots: at most %d are accepted",
                         batch, buffer, slots, SLOTS_MAX);
    if ((uint64_t)o->batch_in_flight > slots)
        return diag_fail(diag, EINVAL, "%s is more than the %" PRIu64 " slots of %s with %s",
                         in_flight, slots, buffer, batch);
    return 0;
}

int embar_config_check(const struct embar_config *config, struct embar_diag *diag)
{
    const struct stream_options *o = config_stream(config);
    char text[SHOWN_BYTES];
    int rc = check_transports(config, diag);

    if (rc == 0 && o->stream[0] == '\0')
        rc =
            diag_fail(diag, EINVAL, "%s has no name: write one that publisher and subscriber share",
                      shown(config, "stream", text));
    if (rc == 0)
        rc = check_role(config, "publisher", o->publisher_connect, o->publisher_listen, diag);
    if (rc == 0)
        rc = check_role(config, "subscriber", o->subscriber_connect, o->subscriber_listen, diag);
    if (rc == 0)
        rc = check_geometry(config, diag);
    return rc;
}
