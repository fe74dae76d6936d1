/* Packing and checking of control messages, by one table of {name, pack, unpack}. Pure; any thread.
 */
#include "stream/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/diag.h"
#include "common/wire.h"

static void pack_hello(struct wire_writer *w, const struct control_message *m)
{
    wire_put_u8(w, m->hello.version);
    wire_put_u8(w, m->hello.role);
    wire_put_u8(w, m->hello.ack);
    wire_put_u8(w, m->hello.checksum);
    wire_put_u64(w, m->hello.instance);
    wire_put_u64(w, m->hello.slot_bytes);
    wire_put_u32(w, m->hello.in_flight);
    wire_put_string(w, m->hello.stream);
}

static bool unpack_hello(struct wire_reader *r, struct control_message *m)
{
    memset(&m->hello, 0, sizeof m->hello);
    m->hello.version = wire_get_u8(r);
    if (m->hello.version != CONTROL_VERSION) {
        r->pos = r->len_bytes; /* what another version says behind it is not known */
        return true;
    }
    m->hello.role = wire_get_u8(r);
    m->hello.ack = wire_get_u8(r);
    m->hello.checksum = wire_get_u8(r);
    m->hello.instance = wire_get_u64(r);
    m->hello.slot_bytes = wire_get_u64(r);
    m->hello.in_flight = wire_get_u32(r);
    wire_get_string(r, m->hello.stream, sizeof m->hello.stream);
    return m->hello.ack <= 2 && m->hello.checksum <= 1;
}

static void pack_reject(struct wire_writer *w, const struct control_message *m)
{
    wire_put_u16(w, (uint16_t)m->reject.code);
    wire_put_string(w, m->reject.reason);
}

static bool unpack_reject(struct wire_reader *r, struct control_message *m)
{
    m->reject.code = (enum control_reject)wire_get_u16(r);
    wire_get_string(r, m->reject.reason, sizeof m->reject.reason);
    /* The reason goes to a log: nothing in it may steer a terminal. */
    for (char *c = m->reject.reason; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    return m->reject.code != REJECT_NONE;
}

static void pack_grant(struct wire_writer *w, const struct control_message *m)
{
    wire_put_u64(w, m->grant.key.id);
    wire_put_u64(w, m->grant.key.base);
    wire_put_u64(w, m->grant.key.size);
    wire_put_u64(w, m->grant.slot_bytes);
    wire_put_u32(w, m->grant.slots);
    wire_put_u64(w, m->grant.next_sequence);
    wire_put_bytes(w, m->grant.taken, (m->grant.slots + 7) / 8);
}

static bool unpack_grant(struct wire_reader *r, struct control_message *m)
{
    struct control_grant *g = &m->grant;

    g->key.id = wire_get_u64(r);
    g->key.base = wire_get_u64(r);
    g->key.size = wire_get_u64(r);
    g->slot_bytes = wire_get_u64(r);
    g->slots = wire_get_u32(r);
    g->next_sequence = wire_get_u64(r);
    if (g->slots == 0 || g->slots > CONTROL_SLOTS || g->slot_bytes == 0 ||
        g->slot_bytes > g->key.size / g->slots)
        return false;
    g->taken = wire_get_bytes(r, (g->slots + 7) / 8);
    return true;
}

static void pack_start(struct wire_writer *w, const struct control_message *m)
{
    wire_put_u64(w, m->start.first_sequence);
    wire_put_u64(w, m->start.first_message);
}

static bool unpack_start(struct wire_reader *r, struct control_message *m)
{
    m->start.first_sequence = wire_get_u64(r);
    m->start.first_message = wire_get_u64(r);
    return m->start.first_sequence <= CONTROL_MOST && m->start.first_message <= CONTROL_MOST;
}

static void pack_credit(struct wire_writer *w, const struct control_message *m)
{
    wire_put_u64(w, m->credit.placed_next);
    wire_put_u64(w, m->credit.consumed_next);
    wire_put_u16(w, m->credit.count);
    for (unsigned i = 0; i < m->credit.count; i++)
        wire_put_u16(w, m->credit.slots[i]);
}

static bool unpack_credit(struct wire_reader *r, struct control_message *m)
{
    m->credit.placed_next = wire_get_u64(r);
    m->credit.consumed_next = wire_get_u64(r);
    m->credit.count = wire_get_u16(r);
    if (m->credit.count > CONTROL_CREDITS || m->credit.consumed_next > m->credit.placed_next)
        return false;
    for (unsigned i = 0; i < m->credit.count; i++)
        m->credit.slots[i] = wire_get_u16(r);
    return true;
}

static void pack_gap(struct wire_writer *w, const struct control_message *m)
{
    wire_put_u64(w, m->gap.from_sequence);
    wire_put_u64(w, m->gap.to_sequence);
    wire_put_u64(w, m->gap.to_message);
}

static bool unpack_gap(struct wire_reader *r, struct control_message *m)
{
    m->gap.from_sequence = wire_get_u64(r);
    m->gap.to_sequence = wire_get_u64(r);
    m->gap.to_message = wire_get_u64(r);
    return m->gap.from_sequence < m->gap.to_sequence && m->gap.to_sequence <= CONTROL_MOST &&
           m->gap.to_message <= CONTROL_MOST;
}

static void pack_totals(struct wire_writer *w, const struct control_message *m)
{
    wire_put_u64(w, m->totals.end_sequence);
    wire_put_u64(w, m->totals.end_message);
    wire_put_u64(w, m->totals.bytes);
}

static bool unpack_totals(struct wire_reader *r, struct control_message *m)
{
    m->totals.end_sequence = wire_get_u64(r);
    m->totals.end_message = wire_get_u64(r);
    m->totals.bytes = wire_get_u64(r);
    return true;
}

static void pack_nothing(struct wire_writer *w, const struct control_message *m)
{
    (void)w;
    (void)m;
}

static bool unpack_nothing(struct wire_reader *r, struct control_message *m)
{
    (void)r;
    (void)m;
    return true;
}

static const struct {
    const char *name;
    void (*pack)(struct wire_writer *w, const struct control_message *m);
    bool (*unpack)(struct wire_reader *r, struct control_message *m);
} formats[] = {
    [CONTROL_HELLO] = {"HELLO", pack_hello, unpack_hello},
    [CONTROL_WELCOME] = {"WELCOME", pack_hello, unpack_hello},
    [CONTROL_REJECT] = {"REJECT", pack_reject, unpack_reject},
    [CONTROL_GRANT] = {"GRANT", pack_grant, unpack_grant},
    [CONTROL_START] = {"START", pack_start, unpack_start},
    [CONTROL_CREDIT] = {"CREDIT", pack_credit, unpack_credit},
    [CONTROL_GAP] = {"GAP", pack_gap, unpack_gap},
    [CONTROL_FINISH] = {"FINISH", pack_totals, unpack_totals},
    [CONTROL_FINISHED] = {"FINISHED", pack_totals, unpack_totals},
    [CONTROL_LEAVE] = {"LEAVE", pack_nothing, unpack_nothing},
};

static bool known(unsigned type)
{
    return type < sizeof formats / sizeof *formats && formats[type].name != NULL;
}

const char *control_name(enum control_type type)
{
    return known(type) ? formats[type].name : "?";
}

size_t control_pack(const struct control_message *message, uint8_t out[CONTROL_BYTES])
{
    struct wire_writer w = wire_writer(out, CONTROL_BYTES);

    wire_put_u8(&w, (uint8_t)message->type);
    formats[message->type].pack(&w, message);
    return w.pos;
}

int control_unpack(const void *data, size_t len_bytes, struct control_message *message,
                   struct embar_diag *diag)
{
    struct wire_reader r = wire_reader(data, len_bytes);
    unsigned type = wire_get_u8(&r);
    bool fits;

    if (!known(type))
        return diag_fail(diag, EPROTO, "control message of unknown type %u", type);
    message->type = (enum control_type)type;
    fits = formats[type].unpack(&r, message);
    if (!r.overrun && !fits)
        return diag_fail(diag, EPROTO, "%s message has a field out of its range",
                         formats[type].name);
    if (r.overrun || r.pos != len_bytes)
        return diag_fail(diag, EPROTO, "%s message of %zu bytes has not the length of one",
                         formats[type].name, len_bytes);
    return 0;
}
