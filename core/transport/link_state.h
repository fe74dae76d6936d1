/* The states of a link and the one table that says what may follow what. */
#ifndef TRANSPORT_LINK_STATE_H
#define TRANSPORT_LINK_STATE_H

struct embar_link;

enum link_state {
    LINK_REQUESTED,  /* a peer asks; the application has not answered */
    LINK_ACCEPTING,  /* accepted; the backend has not reported it up */
    LINK_CONNECTING, /* asked for by this side */
    LINK_UP,         /* carries data */
    LINK_ENDING,     /* rejected or disconnected; the backend has not reported it down */
    LINK_DOWN,       /* reported down; LINK_DOWN waits in the queue */
    LINK_OVER,       /* LINK_DOWN has been polled: may be closed */
    LINK_STATES,
};

enum link_input {
    LINK_ACCEPT,        /* application */
    LINK_REJECT,        /* application, or core when the listener closes */
    LINK_ANSWER_FAILED, /* the backend could not accept or reject */
    LINK_DISCONNECT,    /* application */
    LINK_REPORT_UP,     /* backend */
    LINK_REPORT_DOWN,   /* backend, or core when the transport is lost */
    LINK_DOWN_POLLED,   /* application */
    LINK_INPUTS,
};

#define LINK_NEVER (-1) /* this input has no meaning in this state */

/* The state that follows, or LINK_NEVER. Pure. */
int link_state_next(enum link_state state, enum link_input input);

const char *link_state_name(enum link_state state);

/* Gives a new link its first state. */
void link_state_begin(struct embar_link *link, enum link_state state);

/* Moves the link on and logs the change. -EINVAL, and nothing changes, for LINK_NEVER. */
int link_state_step(struct embar_link *link, enum link_input input);

#endif
