/*
 * The bytes of values: which are accepted, and how one is written into a YAML file so that it is
 * read back as it was. Owns nothing; pure.
 */
#include <stdint.h>
#include <string.h>

#include "common/text.h"
#include "stream/config_store.h"

/* Decodes one UTF-8 character (RFC 3629); returns its length, 0 when it is none. */
static size_t decode(const unsigned char *p, size_t left, uint32_t *point)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}};

    for (size_t len = 1; len <= 4; len++) {
        if ((p[0] & forms[len - 1].mask) != forms[len - 1].lead)
            continue;
        if (len > left)
            return 0;
        *point = p[0] & (unsigned char)~forms[len - 1].mask;
        for (size_t i = 1; i < len; i++) {
            if ((p[i] & 0xC0) != 0x80)
                return 0;
            *point = *point << 6 | (p[i] & 0x3F);
        }
        return *point >= forms[len - 1].least && *point <= 0x10FFFF ? len : 0;
    }
    return 0;
}

/* Printable in YAML 1.1 (5.1), and not one of its line breaks. */
static bool printable(uint32_t point)
{
    return (point >= 0x20 && point <= 0x7E) ||
           (point >= 0xA0 && point <= 0xD7FF && point != 0x2028 && point != 0x2029) ||
           (point >= 0xE000 && point <= 0xFFFD && point != 0xFEFF) || point >= 0x10000;
}

const char *config_text_flaw(const char *text, size_t len_bytes)
{
    const unsigned char *p = (const unsigned char *)text;

    while (len_bytes > 0) {
        uint32_t point = 0;
        size_t len = decode(p, len_bytes, &point);

        if (len == 0)
            return "is not UTF-8";
        if (point == '\n' || point == '\r')
            return "has more than one line";
        if (!printable(point))
            return "holds a character that cannot be printed";
        p += len;
        len_bytes -= len;
    }
    return NULL;
}

/* Whether YAML takes it for a plain scalar that is not null. Colons are left to quotes in brackets,
 * where older readers take them for a mapping's. */
static bool plain(const char *text, bool in_list)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/"
                                  "._+-:";
    const char *start = text + (text[0] == '-');
    size_t len = strlen(start);

    return len > 0 && start[len - 1] != ':' && strspn(start, letters) == len &&
           strcasecmp(text, "null") != 0 && !(in_list && strchr(text, ':') != NULL);
}

/* Writes one scalar, quoted where it must be; returns the end. */
static char *write_scalar(char *out, const char *text, bool in_list)
{
    bool quoted = !plain(text, in_list);

    if (quoted)
        *out++ = '"';
    for (; *text != '\0'; text++) {
        if (quoted && (*text == '"' || *text == '\\'))
            *out++ = '\\';
        *out++ = *text;
    }
    if (quoted)
        *out++ = '"';
    *out = '\0';
    return out;
}

const char *config_yaml_value(const struct option *option, const char *text,
                              char yaml[CONFIG_YAML_BYTES])
{
    char *out = yaml;

    if (option->type != OPTION_LIST || strchr(text, ',') == NULL) {
        write_scalar(out, text, false);
        return yaml;
    }
    *out++ = '[';
    for (;;) {
        char item[OPTION_LIST_BYTES];
        size_t len = strcspn(text, ",");

        text_format(item, sizeof(item), "%.*s", (int)len, text);
        out = write_scalar(out, item, true);
        if (text[len] == '\0')
            break;
        out = stpcpy(out, ", ");
        text += len + 1;
    }
    strcpy(out, "]");
    return yaml;
}

const char *config_accepts(const struct option *option, char *text, size_t text_bytes)
{
    char accepts[EMBAR_DIAG_BYTES / 2];

    option_accepts(option, accepts, sizeof(accepts));
    if (option->unit == NULL || option->type == OPTION_SIZE || option->type == OPTION_DURATION)
        return text_format(text, text_bytes, "%s", accepts);
    if (option->type == OPTION_STRING)
        return text_format(text, text_bytes, "%s", option->unit);
    if (option->type == OPTION_LIST)
        return text_format(text, text_bytes, "a list of %s", option->unit);
    return text_format(text, text_bytes, "%s %s", accepts, option->unit);
}

const char *config_variable(const char *key, char *name, size_t name_bytes)
{
    text_format(name, name_bytes, "EMBAR_%s", key);
    for (char *c = name; *c != '\0'; c++) {
        if (*c == '.')
            *c = '_';
        else if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    }
    return name;
}
