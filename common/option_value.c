/*
 * The values of options: reading them from text, writing them back, and saying what is accepted.
 * Owns nothing; any thread.
 */
#include "common/option.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/clock.h"
#include "common/diag.h"
#include "common/text.h"

#define SHOWN_BYTES 100 /* of a value that is refused */

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest first: formatting takes the first one that divides the value. */
static const struct unit size_units[] = {
    {"GiB", 1ull << 30}, {"MiB", 1ull << 20}, {"KiB", 1ull << 10}, {"", 1}, {NULL, 0}};
/* An option's duration is a whole number of microseconds by construction. */
static const struct unit duration_units[] = {
    {"s", NS_PER_S}, {"ms", NS_PER_MS}, {"us", NS_PER_US}, {NULL, 0}};

static void *field_of(const struct option *option, void *target)
{
    return (char *)target + option->offset;
}

static const void *const_field_of(const struct option *option, const void *target)
{
    return (const char *)target + option->offset;
}

static const struct unit *units_of(const struct option *option)
{
    return option->type == OPTION_SIZE ? size_units : duration_units;
}

static bool is_bounded(const struct option *option)
{
    return option->min != 0 || option->max != 0;
}

/* ---- reading ------------------------------------------------------------------------------ */

/* "KEY: 'VALUE' WHAT; write ACCEPTED" */
static int refuse(const struct option *option, const char *value, const char *what,
                  struct embar_diag *diag)
{
    char accepts[EMBAR_DIAG_BYTES / 2], shown[SHOWN_BYTES];

    option_accepts(option, accepts, sizeof(accepts));
    text_format(shown, sizeof(shown), "%s", value);
    return diag_fail(diag, EINVAL, "%s: '%s' %s; write %s", option->key, shown, what, accepts);
}

static const char *quantity_form(const struct option *option)
{
    return option->type == OPTION_SIZE ? "a number of bytes or with KiB, MiB, GiB"
                                       : "a number with us, ms or s";
}

/* For a value of no sensible form: says the form and, where there is one, the range. */
static int refuse_form(const struct option *option, const char *value, struct embar_diag *diag)
{
    char range[64] = "", shown[SHOWN_BYTES];

    if (is_bounded(option))
        option_accepts(option, range, sizeof(range));
    text_format(shown, sizeof(shown), "%s", value);
    return diag_fail(diag, EINVAL, "%s: '%s' is not a %s; write %s%s%s", option->key, shown,
                     option->type == OPTION_SIZE ? "size" : "time", quantity_form(option),
                     range[0] ? ", " : "", range);
}

/* Digits, then one of the units; false when it is anything else or does not fit into 64 bits. A
 * plain 0 needs no unit. */
static bool read_quantity(const char *value, const struct unit *units, uint64_t *result)
{
    uint64_t number = 0;
    const char *c = value;

    for (; isdigit((unsigned char)*c); c++)
        if (__builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*c - '0'), &number))
            return false;
    if (c == value)
        return false;
    if (*c == '\0' && number == 0) {
        *result = 0;
        return true;
    }
    while (*c == ' ') /* "256 MiB" */
        c++;
    for (; units->name; units++)
        if (strcmp(c, units->name) == 0)
            return !__builtin_mul_overflow(number, units->factor, result);
    return false;
}

static int parse_quantity(const struct option *option, const char *value, void *target,
                          struct embar_diag *diag)
{
    uint64_t quantity;

    if (!read_quantity(value, units_of(option), &quantity))
        return refuse_form(option, value, diag);
    if (is_bounded(option) && (quantity < option->min || quantity > option->max))
        return refuse(option, value, "is out of range", diag);
    memcpy(field_of(option, target), &quantity, sizeof(quantity));
    return 0;
}

static bool read_int(const char *value, int64_t *result)
{
    const char *c = value + (value[0] == '-');
    const char *digits = c;
    int64_t number = 0;

    /* Counted downwards, because INT64_MIN has no positive counterpart. */
    for (; isdigit((unsigned char)*c); c++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, *c - '0', &number))
            return false;
    if (c == digits || *c)
        return false;
    if (value[0] != '-' && __builtin_sub_overflow(0, number, &number))
        return false;
    *result = number;
    return true;
}

static int parse_int(const struct option *option, const char *value, void *target,
                     struct embar_diag *diag)
{
    int64_t number;

    if (!read_int(value, &number))
        return refuse(option, value, "is not a whole number", diag);
    if (is_bounded(option) && (number < (int64_t)option->min || number > (int64_t)option->max))
        return refuse(option, value, "is out of range", diag);
    memcpy(field_of(option, target), &number, sizeof(number));
    return 0;
}

static int parse_bool(const struct option *option, const char *value, void *target,
                      struct embar_diag *diag)
{
    bool yes = strcmp(value, "true") == 0;

    if (!yes && strcmp(value, "false") != 0)
        return refuse(option, value, "is neither true nor false", diag);
    memcpy(field_of(option, target), &yes, sizeof(yes));
    return 0;
}

static int parse_enum(const struct option *option, const char *value, void *target,
                      struct embar_diag *diag)
{
    for (int i = 0; option->choices[i]; i++) {
        if (strcmp(option->choices[i], value) == 0) {
            memcpy(field_of(option, target), &i, sizeof(i));
            return 0;
        }
    }
    return refuse(option, value, "is not a choice", diag);
}

static bool has_control_character(const char *value)
{
    for (; *value; value++)
        if ((unsigned char)*value < 0x20 || *value == 0x7F)
            return true;
    return false;
}

static int parse_string(const struct option *option, const char *value, void *target,
                        struct embar_diag *diag)
{
    size_t len = strlen(value);

    if (has_control_character(value))
        return refuse(option, value, "has a control character", diag);
    if (len >= OPTION_STRING_BYTES)
        return refuse(option, value, "is too long", diag);
    memcpy(field_of(option, target), value, len + 1);
    return 0;
}

/* Copies with the blanks around each item dropped. An empty list is one without items; an empty
 * item beside others is a slip. */
static int parse_list(const struct option *option, const char *value, void *target,
                      struct embar_diag *diag)
{
    char list[OPTION_LIST_BYTES];
    size_t len = 0;
    bool more = value[strspn(value, " ")] != '\0';

    if (has_control_character(value))
        return refuse(option, value, "has a control character", diag);
    for (const char *c = value; more; c++) {
        c += strspn(c, " ");
        size_t span = strcspn(c, ","), item = span;
        while (item > 0 && c[item - 1] == ' ')
            item--;
        if (item == 0)
            return refuse(option, value, "has an empty item", diag);
        if (len + item + 2 > sizeof(list))
            return refuse(option, value, "is too long", diag);
        if (len > 0)
            list[len++] = ',';
        memcpy(list + len, c, item);
        len += item;
        c += span;
        more = *c == ',';
    }
    list[len] = '\0';
    memcpy(field_of(option, target), list, len + 1);
    return 0;
}

int option_parse(const struct option *option, const char *value, void *target,
                 struct embar_diag *diag)
{
    switch (option->type) {
    case OPTION_BOOL:
        return parse_bool(option, value, target, diag);
    case OPTION_INT:
        return parse_int(option, value, target, diag);
    case OPTION_SIZE:
    case OPTION_DURATION:
        return parse_quantity(option, value, target, diag);
    case OPTION_ENUM:
        return parse_enum(option, value, target, diag);
    case OPTION_STRING:
        return parse_string(option, value, target, diag);
    case OPTION_LIST:
        return parse_list(option, value, target, diag);
    }
    return diag_fail(diag, EINVAL, "%s: its table gives it no type that exists", option->key);
}

/* ---- writing ------------------------------------------------------------------------------ */

static const char *write_quantity(uint64_t quantity, const struct unit *units, char *text,
                                  size_t text_bytes)
{
    if (quantity == 0)
        return text_format(text, text_bytes, "0");
    while (quantity % units->factor != 0 && units[1].name)
        units++;
    return text_format(text, text_bytes, "%" PRIu64 "%s", quantity / units->factor, units->name);
}

const char *option_format(const struct option *option, const void *target, char *text,
                          size_t text_bytes)
{
    const void *field = const_field_of(option, target);
    uint64_t quantity;
    int64_t number;
    int choice;
    bool yes;

    switch (option->type) {
    case OPTION_BOOL:
        memcpy(&yes, field, sizeof(yes));
        return text_format(text, text_bytes, "%s", yes ? "true" : "false");
    case OPTION_INT:
        memcpy(&number, field, sizeof(number));
        return text_format(text, text_bytes, "%" PRId64, number);
    case OPTION_SIZE:
    case OPTION_DURATION:
        memcpy(&quantity, field, sizeof(quantity));
        return write_quantity(quantity, units_of(option), text, text_bytes);
    case OPTION_ENUM:
        memcpy(&choice, field, sizeof(choice));
        return text_format(text, text_bytes, "%s", option->choices[choice]);
    case OPTION_STRING:
    case OPTION_LIST:
        break;
    }
    return text_format(text, text_bytes, "%s", (const char *)field);
}

static const char *accept_choices(const struct option *option, char *text, size_t text_bytes)
{
    size_t len = 0;

    text[0] = '\0';
    for (int i = 0; option->choices[i] && len + 1 < text_bytes; i++) {
        text_format(text + len, text_bytes - len, "%s%s", i > 0 ? " | " : "", option->choices[i]);
        len += strlen(text + len);
    }
    return text;
}

static const char *accept_range(const struct option *option, const struct unit *units, char *text,
                                size_t text_bytes)
{
    char low[32], high[32];

    return text_format(text, text_bytes, "%s .. %s",
                       write_quantity(option->min, units, low, sizeof(low)),
                       write_quantity(option->max, units, high, sizeof(high)));
}

const char *option_accepts(const struct option *option, char *text, size_t text_bytes)
{
    switch (option->type) {
    case OPTION_BOOL:
        return text_format(text, text_bytes, "true | false");
    case OPTION_INT:
        if (is_bounded(option))
            return text_format(text, text_bytes, "%" PRId64 " .. %" PRId64, (int64_t)option->min,
                               (int64_t)option->max);
        return text_format(text, text_bytes, "a whole number");
    case OPTION_SIZE:
    case OPTION_DURATION:
        if (is_bounded(option))
            return accept_range(option, units_of(option), text, text_bytes);
        return text_format(text, text_bytes, "%s", quantity_form(option));
    case OPTION_ENUM:
        return accept_choices(option, text, text_bytes);
    case OPTION_STRING:
        return text_format(text, text_bytes, "text of at most %d bytes", OPTION_STRING_BYTES - 1);
    case OPTION_LIST:
        break;
    }
    return text_format(text, text_bytes, "items separated by commas, at most %d bytes in all",
                       OPTION_LIST_BYTES - 1);
}
