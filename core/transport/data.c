/*
 * The data path of a link: writes and control messages, checked here so that a backend need not.
 * Owns nothing; allocates nothing. Runs on the transport's thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>

#include "common/diag.h"
#include "transport/object.h"

/* Whether [offset, offset + len) lies within [0, size), without an overflow on the way. */
static bool within(uint64_t offset, uint64_t len, uint64_t size)
{
    return offset <= size && len <= size - offset;
}

static int check_write(const struct embar_link *link, const struct embar_write *write)
{
    const struct embar_buffer *buffer = write->buffer;

    if (link->state != LINK_UP)
        return -ENOTCONN;
    if (write->len_bytes == 0 || write->len_bytes > link->transport->caps.max_write_bytes)
        return -EINVAL;
    if (write->loan != NULL) {
        if (buffer == NULL || write->loan->buffer_id != buffer->id ||
            write->loan->link_id != link->id || !write->loan->taken)
            return -EINVAL;
    } else if (!within(write->remote_offset, write->len_bytes, write->key.size)) {
        return -EINVAL;
    }
    if (buffer == NULL) /* built in place */
        return (link->transport->caps.flags & EMBAR_CAP_MAPPED) != 0 ? 0 : -EINVAL;
    if (buffer->transport != link->transport || (buffer->access & EMBAR_ACCESS_LOCAL) == 0 ||
        !within(write->offset, write->len_bytes, buffer->memory.size_bytes))
        return -EINVAL;
    return 0;
}

int embar_write(struct embar_link *link, const struct embar_write *write)
{
    struct embar_write posted = *write;
    int rc;

    rc = check_write(link, write);
    if (rc < 0)
        return rc;
    rc = write_table_add(&link->writes, write->buffer, write->len_bytes, write->token,
                         &posted.token);
    if (rc < 0)
        return rc;
    if (write->buffer != NULL)
        write->buffer->writes_in_flight++;
    rc = link->transport->backend->data->write(link, &posted);
    if (rc < 0 && write_table_take(&link->writes, posted.token, NULL) == 0 && write->buffer != NULL)
        write->buffer->writes_in_flight--;
    return rc;
}

int embar_map(struct embar_link *link, const struct embar_key *key, void **addr,
              struct embar_diag *diag)
{
    if (link->state != LINK_UP)
        return diag_fail(diag, ENOTCONN, "link %" PRIu64 " is %s: only a link that is up has a map",
                         link->id, link_state_name(link->state));
    return link->transport->backend->data->map(link, key, addr, diag);
}

int embar_send(struct embar_link *link, const void *data, size_t len_bytes)
{
    int rc;

    if (len_bytes == 0 || len_bytes > link->transport->caps.max_send_bytes)
        return -EMSGSIZE;
    if (link->state != LINK_UP)
        return -ENOTCONN;
    rc = link->transport->backend->data->send(link, data, len_bytes);
    if (rc == 0)
        link->stats.messages_sent++;
    return rc;
}
