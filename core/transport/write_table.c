/*
 * The writes in flight of one link (see write_table.h): records in an array with a free list
 * through it. A token is the record's index and, above it, how often the record has been used, so
 * that a token handed back twice finds nothing. Runs on the transport's thread.
 */
#include "transport/write_table.h"

#include <errno.h>
#include <stdlib.h>

#define NONE UINT32_MAX

int write_table_init(struct write_table *table, uint32_t capacity)
{
    *table = (struct write_table){.capacity = capacity, .first_free = capacity > 0 ? 0 : NONE};
    table->records = calloc(capacity > 0 ? capacity : 1, sizeof(*table->records));
    if (table->records == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < capacity; i++)
        table->records[i].next_free = i + 1 < capacity ? i + 1 : NONE;
    return 0;
}

void write_table_destroy(struct write_table *table)
{
    free(table->records);
    *table = (struct write_table){.first_free = NONE};
}

int write_table_add(struct write_table *table, struct embar_buffer *buffer, size_t len_bytes,
                    uint64_t token, uint64_t *core_token)
{
    uint32_t i = table->first_free;
    struct write_record *record;

    if (i == NONE)
        return -EAGAIN;
    record = &table->records[i];
    table->first_free = record->next_free;
    record->buffer = buffer;
    record->len_bytes = len_bytes;
    record->token = token;
    record->generation++;
    record->in_flight = true;
    table->in_flight++;
    *core_token = (uint64_t)record->generation << 32 | i;
    return 0;
}

static void release(struct write_table *table, uint32_t i, struct write_record *out)
{
    struct write_record *record = &table->records[i];

    if (out != NULL)
        *out = *record;
    record->in_flight = false;
    record->next_free = table->first_free;
    table->first_free = i;
    table->in_flight--;
}

int write_table_take(struct write_table *table, uint64_t core_token, struct write_record *record)
{
    uint32_t i = (uint32_t)core_token;
    uint32_t generation = (uint32_t)(core_token >> 32);

    if (i >= table->capacity || !table->records[i].in_flight ||
        table->records[i].generation != generation)
        return -ENOENT;
    release(table, i, record);
    return 0;
}

int write_table_take_any(struct write_table *table, struct write_record *record)
{
    for (uint32_t i = 0; i < table->capacity; i++) {
        if (table->records[i].in_flight) {
            release(table, i, record);
            return 0;
        }
    }
    return -ENOENT;
}
