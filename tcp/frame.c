/*
 * Packs, unpacks and checks frame headers. Pure; owns nothing.
 */
#include "frame.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>

#include "common/diag.h"
#include "common/wire.h"

void tcp_frame_pack(const struct tcp_frame *frame, uint8_t bytes[TCP_FRAME_BYTES])
{
    struct wire_writer w = wire_writer(bytes, TCP_FRAME_BYTES);

    wire_put_u16(&w, TCP_FRAME_MAGIC);
    wire_put_u8(&w, TCP_FRAME_VERSION);
    wire_put_u8(&w, (uint8_t)frame->type);
    wire_put_u16(&w, frame->flags);
    wire_put_u16(&w, 0); /* reserved */
    wire_put_u64(&w, frame->key);
    wire_put_u64(&w, frame->offset);
    wire_put_u32(&w, frame->immediate);
    wire_put_u32(&w, frame->len_bytes);
}

void tcp_frame_set_flags(uint8_t bytes[TCP_FRAME_BYTES], uint16_t flags)
{
    struct wire_writer w = wire_writer(bytes + 4, 2);

    wire_put_u16(&w, flags);
}

int tcp_frame_unpack(const uint8_t bytes[TCP_FRAME_BYTES], struct tcp_frame *frame,
                     struct embar_diag *diag)
{
    struct wire_reader r = wire_reader(bytes, TCP_FRAME_BYTES);
    unsigned magic = wire_get_u16(&r);
    unsigned version = wire_get_u8(&r);
    unsigned type = wire_get_u8(&r);
    unsigned flags = wire_get_u16(&r);
    unsigned reserved = wire_get_u16(&r);

    if (magic != TCP_FRAME_MAGIC)
        return diag_fail(diag, EPROTO, "a frame began with 0x%04x instead of 0x%04x", magic,
                         TCP_FRAME_MAGIC);
    if (version != TCP_FRAME_VERSION)
        return diag_fail(diag, EPROTONOSUPPORT,
                         "version %u of the TCP wire met version %u; run the same release of Embar "
                         "at both ends",
                         version, TCP_FRAME_VERSION);
    if (type < TCP_FRAME_REQUEST || type > TCP_FRAME_PLACED)
        return diag_fail(diag, EPROTO, "a frame has the unknown type %u", type);
    if ((flags & ~(type == TCP_FRAME_WRITE ? TCP_FLAG_SPLICED : 0u)) != 0 || reserved != 0)
        return diag_fail(diag, EPROTO, "a %s frame has unknown flags 0x%04x%04x",
                         tcp_frame_name((enum tcp_frame_type)type), reserved, flags);
    frame->type = (enum tcp_frame_type)type;
    frame->flags = (uint16_t)flags;
    frame->key = wire_get_u64(&r);
    frame->offset = wire_get_u64(&r);
    frame->immediate = wire_get_u32(&r);
    frame->len_bytes = wire_get_u32(&r);
    return 0;
}

static int check_write(const struct tcp_frame *frame, const struct tcp_window *window,
                       struct embar_diag *diag)
{
    uint64_t len = frame->len_bytes;

    if (len == 0 || len > TCP_MAX_WRITE_BYTES)
        return diag_fail(diag, EPROTO, "a write has %" PRIu64 " bytes; 1 to %u are allowed", len,
                         TCP_MAX_WRITE_BYTES);
    /* The true key stays out of the sentence: it goes to logs and back to the peer. */
    if (window->addr == NULL || frame->key != window->key)
        return diag_fail(diag, EACCES,
                         "a write came with a key that is not, or no longer, valid for this link");
    if (frame->offset > window->size_bytes || len > window->size_bytes - frame->offset)
        return diag_fail(diag, EACCES,
                         "a write of %" PRIu64 " bytes at offset %" PRIu64
                         " is outside of the exposed buffer of %" PRIu64 " bytes",
                         len, frame->offset, window->size_bytes);
    return 0;
}

/* Frames that carry no key, no offset and, but for BYE, no immediate. */
static int check_plain(const struct tcp_frame *frame, uint32_t min_bytes, uint32_t max_bytes,
                       struct embar_diag *diag)
{
    uint32_t max_immediate = frame->type == TCP_FRAME_BYE ? TCP_BYE_REFUSED : 0;

    if (frame->len_bytes < min_bytes || frame->len_bytes > max_bytes)
        return diag_fail(diag, EPROTO,
                         "a %s frame has %" PRIu32 " bytes; %" PRIu32 " to %" PRIu32 " are allowed",
                         tcp_frame_name(frame->type), frame->len_bytes, min_bytes, max_bytes);
    if (frame->key != 0 || frame->offset != 0 || frame->immediate > max_immediate)
        return diag_fail(diag, EPROTO, "a %s frame has fields set that it does not use",
                         tcp_frame_name(frame->type));
    return 0;
}

static int check_request(const struct tcp_frame *frame, struct embar_diag *diag)
{
    uint32_t lane = (uint32_t)frame->offset, lanes = (uint32_t)(frame->offset >> 32);

    if (frame->len_bytes != 0 || frame->immediate != 0 || lane >= lanes || lanes > TCP_MAX_LANES)
        return diag_fail(diag, EPROTO,
                         "a request for lane %" PRIu32 " of %" PRIu32 " makes no sense", lane,
                         lanes);
    return 0;
}

static int check_placed(const struct tcp_frame *frame, struct embar_diag *diag)
{
    if (frame->key != 0 || frame->immediate != 0 || frame->len_bytes != 0)
        return diag_fail(diag, EPROTO, "a PLACED frame has fields set that it does not use");
    return 0;
}

static int check_accept(const struct tcp_frame *frame, struct embar_diag *diag)
{
    if (frame->len_bytes != 0 || frame->key != 0 || frame->immediate != 0)
        return diag_fail(diag, EPROTO, "an ACCEPT frame has fields set that it does not use");
    if (frame->offset == 1 || frame->offset > TCP_MAX_LANES)
        return diag_fail(diag, EPROTO, "an ACCEPT frame wants %" PRIu64 " lanes to join",
                         frame->offset);
    return 0;
}

int tcp_frame_check(const struct tcp_frame *frame, unsigned allowed,
                    const struct tcp_window *window, struct embar_diag *diag)
{
    if ((allowed & TCP_FRAME_BIT(frame->type)) == 0)
        return diag_fail(diag, EPROTO, "a %s frame came when the state of the link forbids it",
                         tcp_frame_name(frame->type));
    switch (frame->type) {
    case TCP_FRAME_REQUEST:
        return check_request(frame, diag);
    case TCP_FRAME_WRITE:
        return check_write(frame, window, diag);
    case TCP_FRAME_PLACED:
        return check_placed(frame, diag);
    case TCP_FRAME_SEND:
        return check_plain(frame, 1, TCP_MAX_SEND_BYTES, diag);
    case TCP_FRAME_ACCEPT:
        return check_accept(frame, diag);
    case TCP_FRAME_REJECT:
    case TCP_FRAME_BYE:
        return check_plain(frame, 0, TCP_MAX_REASON_BYTES, diag);
    }
    return diag_fail(diag, EPROTO, "a frame has the unknown type %d", (int)frame->type);
}

const char *tcp_frame_name(enum tcp_frame_type type)
{
    static const char *const names[] = {
        [TCP_FRAME_REQUEST] = "REQUEST", [TCP_FRAME_ACCEPT] = "ACCEPT",
        [TCP_FRAME_REJECT] = "REJECT",   [TCP_FRAME_WRITE] = "WRITE",
        [TCP_FRAME_SEND] = "SEND",       [TCP_FRAME_BYE] = "BYE",
        [TCP_FRAME_PLACED] = "PLACED",
    };

    return names[type];
}
