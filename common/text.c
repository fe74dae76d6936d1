/*
 * Formatting into a bounded buffer. What comes out is always one line of whole characters, whatever
 * went in, so that a peer's words can neither break a log line nor the terminal that shows it. Owns
 * nothing; pure.
 */
#include "common/text.h"

#include <stdio.h>
#include <string.h>

/* Drops the bytes of a UTF-8 character whose end has been cut off. */
static void drop_partial_character(char *text, size_t len)
{
    size_t lead = len;

    while (lead > 0 && ((unsigned char)text[lead - 1] & 0xC0) == 0x80)
        lead--;
    if (lead == 0)
        return;
    unsigned char first = (unsigned char)text[lead - 1];
    size_t want = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
    if (len - (lead - 1) < want)
        text[lead - 1] = '\0';
}

void text_vformat(char *text, size_t text_bytes, const char *fmt, va_list args)
{
    int wanted = vsnprintf(text, text_bytes, fmt, args);

    if (wanted < 0) { /* a wide character that the locale cannot show */
        text[0] = '\0';
        return;
    }
    if ((size_t)wanted >= text_bytes)
        drop_partial_character(text, strlen(text));
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = '?';
}

const char *text_format(char *text, size_t text_bytes, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    text_vformat(text, text_bytes, fmt, args);
    va_end(args);
    return text;
}
