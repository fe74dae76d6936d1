/*
 * The writes in flight of one link. Core hands the backend a token of its own, which finds the
 * caller's token and the source buffer again and makes a write that ends twice, or never, visible.
 * Nothing is allocated after init. The transport's thread.
 */
#ifndef TRANSPORT_WRITE_TABLE_H
#define TRANSPORT_WRITE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct embar_buffer;

struct write_record {
    struct embar_buffer *buffer; /* borrowed; NULL: built in place at the peer */
    size_t len_bytes;
    uint64_t token;      /* the caller's */
    uint32_t generation; /* counts the uses of this record */
    bool in_flight;      /* else the record is free */
    uint32_t next_free;
};

struct write_table {
    struct write_record *records; /* owned */
    uint32_t capacity, in_flight;
    uint32_t first_free;
};

/* -ENOMEM. */
int write_table_init(struct write_table *table, uint32_t capacity);
void write_table_destroy(struct write_table *table);

/* Notes a write; returns 0 and core's token, or -EAGAIN when `capacity` are in flight. */
int write_table_add(struct write_table *table, struct embar_buffer *buffer, size_t len_bytes,
                    uint64_t token, uint64_t *core_token);

/* Takes a write out; -ENOENT when no write in flight has this token. `record` may be NULL. */
int write_table_take(struct write_table *table, uint64_t core_token, struct write_record *record);

/* Takes any write out; -ENOENT when there is none. */
int write_table_take_any(struct write_table *table, struct write_record *record);

#endif
