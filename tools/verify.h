/*
 * --verify: generated messages checked for number and contents, for each publisher by itself. One
 * thread; owns one small record per publisher.
 */
#ifndef TOOLS_VERIFY_H
#define TOOLS_VERIFY_H

#include <embar/embar.h>

#include "pattern.h"

struct verify_peer {
    uint64_t session;
    uint64_t next; /* number of the message that is due */
};

struct verify {
    struct pattern pattern;
    struct verify_peer *peers; /* owned */
    size_t peer_count;
    struct verify_peer *peer; /* of the batch that is being checked */
    uint64_t messages;        /* checked */
    uint64_t mismatches;
    char first[256]; /* sentence about the first mismatch; "" while there is none */
};

void verify_init(struct verify *verify);
void verify_destroy(struct verify *verify);

/* Begins a batch: the messages that follow are of its publisher. -ENOMEM. */
int verify_batch(struct verify *verify, const struct embar_batch_info *info);

/* Checks the next message of that batch. */
void verify_message(struct verify *verify, const void *data, size_t len_bytes);

#endif
