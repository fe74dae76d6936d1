/*
 * Checks generated messages. What a publisher sent is known from the numbers alone: a subscriber
 * that joins late begins with the first batch it is given, and from there on every number is due in
 * turn. One thread.
 */
#include "verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void verify_init(struct verify *v)
{
    *v = (struct verify){0};
    pattern_init(&v->pattern);
}

void verify_destroy(struct verify *v)
{
    free(v->peers);
    v->peers = NULL;
}

__attribute__((format(printf, 2, 3))) static void mismatch(struct verify *v, const char *fmt, ...)
{
    va_list args;

    if (v->mismatches++ > 0)
        return;
    va_start(args, fmt);
    vsnprintf(v->first, sizeof(v->first), fmt, args);
    va_end(args);
}

/* The publisher's record; batches of one publisher tend to follow each other. */
static int find_peer(struct verify *v, const struct embar_batch_info *info)
{
    struct verify_peer *grown;

    if (v->peer && v->peer->session == info->publisher)
        return 0;
    for (size_t i = 0; i < v->peer_count; i++) {
        if (v->peers[i].session == info->publisher) {
            v->peer = &v->peers[i];
            return 0;
        }
    }
    grown = realloc(v->peers, (v->peer_count + 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    v->peers = grown;
    v->peer = &grown[v->peer_count++];
    *v->peer = (struct verify_peer){.session = info->publisher, .next = info->first_message};
    return 0;
}

int verify_batch(struct verify *v, const struct embar_batch_info *info)
{
    int rc = find_peer(v, info);

    if (rc != 0)
        return rc;
    if (v->peer->next != info->first_message) {
        mismatch(v,
                 "publisher %016" PRIx64 ": batch %" PRIu64 " begins with message %" PRIu64
                 " where %" PRIu64 " was due",
                 info->publisher, info->sequence, info->first_message, v->peer->next);
        v->peer->next = info->first_message;
    }
    return 0;
}

void verify_message(struct verify *v, const void *data, size_t len_bytes)
{
    uint64_t due = v->peer->next++;
    size_t at = pattern_check(&v->pattern, due, data, len_bytes);
    uint64_t number;

    v->messages++;
    if (at == len_bytes)
        return;
    if (pattern_number(data, len_bytes, &number) && number != due &&
        pattern_check(&v->pattern, number, data, len_bytes) == len_bytes) {
        mismatch(v, "publisher %016" PRIx64 ": message %" PRIu64 " came where %" PRIu64 " was due",
                 v->peer->session, number, due);
        v->peer->next = number + 1;
        return;
    }
    mismatch(v,
             "publisher %016" PRIx64 ": message %" PRIu64 " of %zu bytes: byte %zu is 0x%02x, not "
             "0x%02x",
             v->peer->session, due, len_bytes, at, ((const unsigned char *)data)[at],
             pattern_byte(&v->pattern, due, len_bytes, at));
}
