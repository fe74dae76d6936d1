/*
 * The link state machine: one table of [state][input] and the one function that changes a link's
 * state, which logs every change. Runs on the transport's thread.
 */
#include "transport/link_state.h"

#include <errno.h>
#include <inttypes.h>

#include "common/log.h"
#include "transport/object.h"

#define NEVER LINK_NEVER

/* Disconnecting is harmless in every state. UP may cross a disconnect and is then of no interest.
 * A failed answer leaves the request to be answered again, unless the link went down in it. */
/* clang-format off */
static const signed char table[LINK_STATES][LINK_INPUTS] = {
    /*                   ACCEPT          REJECT       ANSWER_FAILED   DISCONNECT   REPORT_UP    REPORT_DOWN  DOWN_POLLED */
    [LINK_REQUESTED]  = {LINK_ACCEPTING, LINK_ENDING, NEVER,          LINK_ENDING, NEVER,       LINK_DOWN,   NEVER},
    [LINK_ACCEPTING]  = {NEVER,          NEVER,       LINK_REQUESTED, LINK_ENDING, LINK_UP,     LINK_DOWN,   NEVER},
    [LINK_CONNECTING] = {NEVER,          NEVER,       NEVER,          LINK_ENDING, LINK_UP,     LINK_DOWN,   NEVER},
    [LINK_UP]         = {NEVER,          NEVER,       NEVER,          LINK_ENDING, NEVER,       LINK_DOWN,   NEVER},
    [LINK_ENDING]     = {NEVER,          NEVER,       LINK_REQUESTED, LINK_ENDING, LINK_ENDING, LINK_DOWN,   NEVER},
    [LINK_DOWN]       = {NEVER,          NEVER,       LINK_DOWN,      LINK_DOWN,   NEVER,       NEVER,       LINK_OVER},
    [LINK_OVER]       = {NEVER,          NEVER,       NEVER,          LINK_OVER,   NEVER,       NEVER,       NEVER},
};
/* clang-format on */

static const char *const names[LINK_STATES] = {
    [LINK_REQUESTED] = "requested",
    [LINK_ACCEPTING] = "accepting",
    [LINK_CONNECTING] = "connecting",
    [LINK_UP] = "up",
    [LINK_ENDING] = "ending",
    [LINK_DOWN] = "down",
    [LINK_OVER] = "over",
};

int link_state_next(enum link_state state, enum link_input input)
{
    return table[state][input];
}

const char *link_state_name(enum link_state state)
{
    return names[state];
}

void link_state_begin(struct embar_link *link, enum link_state state)
{
    link->state = state;
    log_debug("link %" PRIu64 ": new, %s", link->id, names[state]);
}

int link_state_step(struct embar_link *link, enum link_input input)
{
    int next = table[link->state][input];

    if (next == NEVER)
        return -EINVAL;
    if ((enum link_state)next != link->state) {
        log_debug("link %" PRIu64 ": %s -> %s", link->id, names[link->state], names[next]);
        link->state = (enum link_state)next;
    }
    return 0;
}
