/*
 * The option table of the stream level: every key that is not a backend's. config.c joins it with
 * the backends' tables.
 */
#ifndef STREAM_OPTIONS_H
#define STREAM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/option.h"

enum stream_checksum { CHECKSUM_CRC32C, CHECKSUM_NONE };
enum stream_slow { SLOW_BLOCK, SLOW_DROP, SLOW_EVICT };
enum stream_progress { PROGRESS_ADAPTIVE, PROGRESS_POLL, PROGRESS_EVENT };

struct stream_options {
    char transport[OPTION_LIST_BYTES]; /* ordered; "auto" is shm,rdma,tcp */
    char stream[OPTION_STRING_BYTES];  /* the stream's name */
    char publisher_connect[OPTION_LIST_BYTES];
    char publisher_listen[OPTION_STRING_BYTES];
    int64_t publisher_min_subscribers;
    char subscriber_listen[OPTION_STRING_BYTES];
    char subscriber_connect[OPTION_LIST_BYTES];
    int64_t subscriber_max_links;
    int64_t subscriber_min_publishers;
    uint64_t buffer_size;
    int hugepages;     /* enum embar_hugepages: prefer | require | never */
    int64_t numa_node; /* -1: any */
    uint64_t batch_size;
    uint64_t batch_linger_ns;
    int64_t batch_in_flight;  /* batches written and not yet consumed, per link */
    int checksum;             /* enum stream_checksum */
    int ack;                  /* enum embar_level */
    int slow_subscriber;      /* enum stream_slow */
    uint64_t slow_timeout_ns; /* how long a slow subscriber is waited for before that happens */
    int progress;             /* enum stream_progress */
    uint64_t connect_timeout_ns;
    uint64_t reconnect_timeout_ns;
    uint64_t handshake_timeout_ns;
};

extern const struct option_table stream_options;

#endif
