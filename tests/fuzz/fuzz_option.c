/*
 * Any text as a value of any type of option, and as a key. The first byte chooses the option. What
 * is taken is within its bounds and, printed, reads back as the same; what is refused leaves the
 * target as it was and has a sentence.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/option.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct target {
    bool yes;
    int64_t number, bounded_number;
    uint64_t size, bounded_size;
    uint64_t time, bounded_time;
    int choice;
    char text[OPTION_STRING_BYTES];
    char list[OPTION_LIST_BYTES];
};

static const char *const choices[] = {"auto", "zerocopy", "copy", NULL};

#define AT(field) .offset = offsetof(struct target, field)
static const struct option options[] = {
    {.key = "a.yes", .type = OPTION_BOOL, AT(yes), .default_value = "true"},
    {.key = "a.number", .type = OPTION_INT, AT(number), .default_value = "-7"},
    {.key = "a.bounded_number",
     .type = OPTION_INT,
     AT(bounded_number),
     .default_value = "-1",
     .min = (uint64_t)-5,
     .max = 100},
    {.key = "a.size", .type = OPTION_SIZE, AT(size), .default_value = "2MiB"},
    {.key = "a.bounded_size",
     .type = OPTION_SIZE,
     AT(bounded_size),
     .default_value = "4KiB",
     .min = 4096,
     .max = 1 << 30},
    {.key = "a.time", .type = OPTION_DURATION, AT(time), .default_value = "5ms"},
    {.key = "a.bounded_time",
     .type = OPTION_DURATION,
     AT(bounded_time),
     .default_value = "1s",
     .min = 1000,
     .max = 1000000000},
    {.key = "a.choice",
     .type = OPTION_ENUM,
     AT(choice),
     .default_value = "auto",
     .choices = choices},
    {.key = "a.text", .type = OPTION_STRING, AT(text), .default_value = ""},
    {.key = "a.list", .type = OPTION_LIST, AT(list), .default_value = "x,y"},
};
#define COUNT (sizeof(options) / sizeof(options[0]))
static const struct option_table table = {options, COUNT};

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_bounds(const struct target *target)
{
    check(target->bounded_number >= -5 && target->bounded_number <= 100);
    check(target->bounded_size >= 4096 && target->bounded_size <= 1 << 30);
    check(target->bounded_time >= 1000 && target->bounded_time <= 1000000000);
    check(target->choice >= 0 && target->choice < 3);
}

static void try_value(const struct option *option, const char *value)
{
    struct target target, before, again;
    struct embar_diag diag = {0};
    char text[OPTION_LIST_BYTES];

    memset(&target, 0, sizeof(target));
    option_defaults(&table, &target);
    before = target;
    int rc = option_parse(option, value, &target, &diag);
    if (rc != 0) {
        check(rc == -EINVAL && diag.error == EINVAL);
        check(strncmp(diag.text, option->key, strlen(option->key)) == 0);
        check(memcmp(&target, &before, sizeof(target)) == 0);
        return;
    }
    check_bounds(&target);
    again = before;
    option_format(option, &target, text, sizeof(text));
    check(option_parse(option, text, &again, NULL) == 0);
    check(memcmp(&target, &again, sizeof(target)) == 0);
}

static void try_key(const char *key)
{
    struct target target;
    struct embar_diag diag = {0};
    unsigned distance;
    const struct option *nearest = option_nearest(&table, key, &distance);

    option_defaults(&table, &target);
    if (option_find(&table, key)) {
        check(nearest && distance == 0);
        return;
    }
    check(option_set(&table, key, "1", &target, &diag) == -ENOENT);
    check(diag.error == ENOENT && (!nearest || strstr(diag.text, nearest->key)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    char *text = malloc(size);
    check(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    try_value(&options[data[0] % COUNT], text);
    try_key(text);
    free(text);
    return 0;
}
