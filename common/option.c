/*
 * Option tables: finding a key, the nearest key to an unknown one, and filling a target. What a
 * value looks like is option_value.c's business. Owns nothing; any thread.
 */
#include "common/option.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"

#define KEY_BYTES 64 /* longer keys are not compared for likeness */

const struct option *option_find(const struct option_table *table, const char *key)
{
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->options[i].key, key) == 0)
            return &table->options[i];
    return NULL;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;

    return least < c ? least : c;
}

/* How many letters to insert, delete, replace or swap with a neighbour to get from one to the other
 * (optimal string alignment). */
static unsigned edit_distance(const char *a, const char *b)
{
    size_t rows = strlen(a), columns = strlen(b);
    unsigned row[3][KEY_BYTES + 1];
    unsigned *before = row[0], *above = row[1], *now = row[2];

    for (size_t j = 0; j <= columns; j++)
        above[j] = (unsigned)j;
    for (size_t i = 1; i <= rows; i++) {
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= columns; j++) {
            unsigned cost = a[i - 1] != b[j - 1];
            now[j] = min3(above[j] + 1, now[j - 1] + 1, above[j - 1] + cost);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        unsigned *oldest = before;
        before = above;
        above = now;
        now = oldest;
    }
    return above[columns];
}

/* "send_mode" is one step from "tcp.send_mode". */
static bool is_last_part(const char *key, const char *part)
{
    size_t key_len = strlen(key), part_len = strlen(part);

    return part_len > 0 && key_len > part_len && key[key_len - part_len - 1] == '.' &&
           strcmp(key + key_len - part_len, part) == 0;
}

const struct option *option_nearest(const struct option_table *table, const char *key,
                                    unsigned *distance)
{
    const struct option *best = NULL;
    size_t len = strlen(key);
    /* One letter in three may be wrong: beyond that a suggestion misleads. */
    unsigned limit = len < 6 ? 2 : (unsigned)(len / 3), best_distance = limit + 1;

    if (len > KEY_BYTES)
        return NULL;
    for (size_t i = 0; i < table->count; i++) {
        const char *candidate = table->options[i].key;
        if (strlen(candidate) > KEY_BYTES)
            continue;
        unsigned d = is_last_part(candidate, key) ? 1 : edit_distance(key, candidate);
        if (d < best_distance) {
            best = &table->options[i];
            best_distance = d;
        }
    }
    if (best)
        *distance = best_distance;
    return best;
}

void option_defaults(const struct option_table *table, void *target)
{
    for (size_t i = 0; i < table->count; i++) {
        /* A default that does not parse is a bug in a constant table, which the tests check. */
        if (option_parse(&table->options[i], table->options[i].default_value, target, NULL) != 0)
            abort();
    }
}

int option_set(const struct option_table *table, const char *key, const char *value, void *target,
               struct embar_diag *diag)
{
    const struct option *option = option_find(table, key);
    unsigned distance;

    if (option)
        return option_parse(option, value, target, diag);
    option = option_nearest(table, key, &distance);
    if (option)
        return diag_fail(diag, ENOENT, "unknown key '%s'; did you mean '%s'?", key, option->key);
    return diag_fail(diag, ENOENT, "unknown key '%s'; embar-config(5) lists all keys", key);
}
