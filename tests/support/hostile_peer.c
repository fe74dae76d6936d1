/*
 * A peer that lies, for tests of what a publisher and a subscriber believe. It speaks the stream's
 * protocol over the tcp transport, tells one lie, and expects the other side to end the link and to
 * say why. Prints "ended: REASON" and exits 0; exits 1 when the lie was swallowed.
 *
 *   hostile_peer LIE ADDRESS   connects as a publisher to the subscriber there
 *   hostile_peer LIE           listens, prints "listening on ADDRESS" on stderr, and is a
 * subscriber
 *
 * The same table says which lies there are. One thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <embar/embar.h>
#include <embar/transport.h>

#include "common/clock.h"
#include "stream/batch.h"
#include "stream/control.h"

#define SLOT_BYTES   (2u << 20)
#define BUFFER_SLOTS 8
#define INSTANCE     0x1badc0de1badc0deull
#define PATIENCE_NS  (60 * NS_PER_S)

static struct {
    struct embar_transport *transport;
    struct embar_link *link;
    struct embar_buffer *buffer;
    uint8_t *memory;
    struct embar_key key; /* a publisher's: what it was granted */
    uint64_t slot_bytes;
    uint32_t slots;
    bool subscriber;
    bool wrote; /* a subscriber: the first batch has come */
    const struct lie *lie;
} peer;

/* When a lie is told. */
enum moment {
    AT_HELLO,   /* in place of HELLO or WELCOME */
    AT_GRANT,   /* a publisher: GRANT has come, START has been sent; a subscriber: in place of GRANT
                 */
    AT_ARRIVAL, /* a subscriber: the first batch has come */
    AT_FINISH,  /* a subscriber: in place of FINISHED */
};

struct lie {
    const char *name;
    bool subscriber;
    enum moment moment;
    void (*tell)(void);
};

static void die(const char *what, int rc)
{
    fprintf(stderr, "hostile_peer: %s: %s\n", what, strerror(rc < 0 ? -rc : rc));
    exit(2);
}

static void say(const struct control_message *message)
{
    uint8_t packed[CONTROL_BYTES];
    int rc = embar_send(peer.link, packed, control_pack(message, packed));

    if (rc != 0)
        die("send", rc);
}

static struct control_message own_hello(void)
{
    struct control_message message = {.type = peer.subscriber ? CONTROL_WELCOME : CONTROL_HELLO};

    message.hello.version = CONTROL_VERSION;
    message.hello.role = peer.subscriber ? ROLE_SUBSCRIBER : ROLE_PUBLISHER;
    message.hello.ack = EMBAR_CONSUMED;
    message.hello.instance = INSTANCE;
    message.hello.slot_bytes = SLOT_BYTES;
    message.hello.in_flight = 4;
    snprintf(message.hello.stream, sizeof message.hello.stream, "default");
    return message;
}

static void say_start(uint64_t first_sequence)
{
    struct control_message message = {.type = CONTROL_START};

    message.start.first_sequence = first_sequence;
    message.start.first_message = 0;
    say(&message);
}

static void say_grant(uint64_t slot_bytes, uint32_t slots, uint64_t next_sequence)
{
    uint8_t taken[CONTROL_SLOTS / 8] = {0};
    struct control_message message = {.type = CONTROL_GRANT};
    struct embar_diag diag = {0};
    int rc = embar_buffer_expose(peer.buffer, peer.link, &message.grant.key, &diag);

    if (rc != 0)
        die(diag.text, rc);
    message.grant.slot_bytes = slot_bytes;
    message.grant.slots = slots;
    message.grant.next_sequence = next_sequence;
    message.grant.taken = taken;
    say(&message);
}

static void say_credit(uint64_t placed, uint64_t consumed, uint16_t slot)
{
    struct control_message message = {.type = CONTROL_CREDIT};

    message.credit.placed_next = placed;
    message.credit.consumed_next = consumed;
    message.credit.count = 1;
    message.credit.slots[0] = slot;
    say(&message);
}

/* Builds batch `sequence` with one message of 100 bytes and writes it into the slot. */
static void write_batch(uint64_t sequence, const struct batch_header *as, uint32_t slot,
                        uint32_t immediate, size_t len_bytes)
{
    struct batch_header header = {.session = INSTANCE,
                                  .sequence = sequence,
                                  .first_message = sequence,
                                  .messages = 1,
                                  .payload_bytes = 104,
                                  .checked = true};
    uint8_t *source = peer.memory + sequence * SLOT_BYTES;
    struct embar_write write = {.buffer = peer.buffer,
                                .offset = sequence * SLOT_BYTES,
                                .len_bytes = len_bytes,
                                .key = peer.key,
                                .remote_offset = slot * peer.slot_bytes,
                                .immediate = immediate};
    int rc;

    source[BATCH_HEADER_BYTES] = 100;
    batch_seal(source, as ? as : &header);
    rc = embar_write(peer.link, &write);
    if (rc != 0)
        die("write", rc);
}

/* ---- lies of either ------------------------------------------------------------------------ */

static void tell_version(void)
{
    struct control_message message = own_hello();

    message.hello.version = 99;
    say(&message);
}

static void tell_role(void)
{
    struct control_message message = own_hello();

    message.hello.role = peer.subscriber ? ROLE_PUBLISHER : ROLE_SUBSCRIBER;
    say(&message);
}

static void tell_stream(void)
{
    struct control_message message = own_hello();

    snprintf(message.hello.stream, sizeof message.hello.stream, "harvest");
    say(&message);
}

static void tell_noise(void)
{
    uint8_t noise[200];

    for (unsigned i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(i * 77 + 200);
    if (embar_send(peer.link, noise, sizeof noise) != 0)
        die("send", EIO);
}

/* ---- lies of a publisher ------------------------------------------------------------------- */

static void tell_geometry(void)
{
    struct control_message message = own_hello();

    message.hello.slot_bytes = 64u << 20;
    say(&message);
}

static void tell_slot(void)
{
    write_batch(0, NULL, 0, peer.slots + 7, 168);
}

static void tell_no_credit(void)
{
    write_batch(0, NULL, 3, 3, 168);
    write_batch(1, NULL, 3, 3, 168);
}

static void tell_long_payload(void)
{
    struct batch_header header = {.session = INSTANCE, .messages = 1, .payload_bytes = 1u << 20};

    write_batch(0, &header, 0, 0, 168);
}

static void tell_many_messages(void)
{
    struct batch_header header = {.session = INSTANCE, .messages = 1u << 30, .payload_bytes = 104};

    write_batch(0, &header, 0, 0, 168);
}

static void tell_session(void)
{
    struct batch_header header = {.session = INSTANCE + 1, .messages = 1, .payload_bytes = 104};

    write_batch(0, &header, 0, 0, 168);
}

static void tell_skipped_numbers(void)
{
    struct batch_header header = {
        .session = INSTANCE, .first_message = 5, .messages = 1, .payload_bytes = 104};

    write_batch(0, &header, 0, 0, 168);
}

static void tell_short_batch(void)
{
    write_batch(0, NULL, 0, 0, 40);
}

static void tell_checksum(void)
{
    struct batch_header header = {
        .session = INSTANCE, .messages = 1, .payload_bytes = 104, .checked = true};

    write_batch(0, &header, 0, 0, 168);
    peer.memory[BATCH_HEADER_BYTES + 50] ^=
        1; /* not read yet: the transport sends when it is polled */
}

static void tell_bounds(void)
{
    peer.key.size += SLOT_BYTES;
    write_batch(0, NULL, peer.slots, 0, 168);
}

static void tell_key(void)
{
    peer.key.id ^= 0x10;
    write_batch(0, NULL, 0, 0, 168);
}

static void tell_totals(void)
{
    struct control_message message = {.type = CONTROL_FINISH};

    message.totals.end_message = 1000;
    message.totals.bytes = 123456;
    say(&message); /* batch 0 of 0, but a thousand messages */
}

static void tell_credit_to_subscriber(void)
{
    say_credit(0, 0, 0);
}

/* ---- lies of a subscriber ------------------------------------------------------------------ */

static void tell_small_slots(void)
{
    say_grant(4096, BUFFER_SLOTS, ANY_SEQUENCE);
}

static void tell_free_slot(void)
{
    say_credit(1, 1, BUFFER_SLOTS - 1);
}

static void tell_slot_out_of_range(void)
{
    say_credit(1, 1, 60000);
}

static void tell_placed_beyond(void)
{
    say_credit(1000000, 1000000, 0);
}

static void tell_consumed_before_placed(void)
{
    say_credit(0, 900, 0);
}

static void tell_batch_to_publisher(void)
{
    struct control_message message = {.type = CONTROL_START};

    say(&message);
}

static void tell_other_totals(void)
{
    struct control_message message = {.type = CONTROL_FINISHED};

    message.totals.end_sequence = 1;
    message.totals.end_message = 77;
    message.totals.bytes = 77;
    say(&message);
}

static const struct lie lies[] = {
    {"version", false, AT_HELLO, tell_version},
    {"role", false, AT_HELLO, tell_role},
    {"stream", false, AT_HELLO, tell_stream},
    {"geometry", false, AT_HELLO, tell_geometry},
    {"noise", false, AT_HELLO, tell_noise},
    {"slot", false, AT_GRANT, tell_slot},
    {"no-credit", false, AT_GRANT, tell_no_credit},
    {"long-payload", false, AT_GRANT, tell_long_payload},
    {"many-messages", false, AT_GRANT, tell_many_messages},
    {"session", false, AT_GRANT, tell_session},
    {"skipped-numbers", false, AT_GRANT, tell_skipped_numbers},
    {"short-batch", false, AT_GRANT, tell_short_batch},
    {"checksum", false, AT_GRANT, tell_checksum},
    {"bounds", false, AT_GRANT, tell_bounds},
    {"key", false, AT_GRANT, tell_key},
    {"totals", false, AT_GRANT, tell_totals},
    {"credit-to-subscriber", false, AT_GRANT, tell_credit_to_subscriber},
    {"sub-version", true, AT_HELLO, tell_version},
    {"sub-role", true, AT_HELLO, tell_role},
    {"sub-stream", true, AT_HELLO, tell_stream},
    {"sub-noise", true, AT_HELLO, tell_noise},
    {"sub-small-slots", true, AT_GRANT, tell_small_slots},
    {"sub-free-slot", true, AT_ARRIVAL, tell_free_slot},
    {"sub-slot-out-of-range", true, AT_ARRIVAL, tell_slot_out_of_range},
    {"sub-placed-beyond", true, AT_ARRIVAL, tell_placed_beyond},
    {"sub-consumed-beyond", true, AT_ARRIVAL, tell_consumed_before_placed},
    {"sub-start", true, AT_ARRIVAL, tell_batch_to_publisher},
    {"sub-totals", true, AT_FINISH, tell_other_totals},
};

/* ---- the part that is honest --------------------------------------------------------------- */

static bool due(enum moment moment)
{
    return peer.lie->moment == moment;
}

static void handle_message(const struct embar_event *event)
{
    struct control_message message;
    struct embar_diag diag = {0};

    if (control_unpack(event->data, event->len_bytes, &message, &diag) != 0)
        die(diag.text, EPROTO);
    switch (message.type) {
    case CONTROL_REJECT:
        printf("ended: %s\n", message.reject.reason);
        exit(0);
    case CONTROL_HELLO: /* to a subscriber that listens */
        if (due(AT_HELLO)) {
            peer.lie->tell();
            break;
        }
        message = own_hello();
        say(&message);
        if (due(AT_GRANT))
            peer.lie->tell();
        else
            say_grant(SLOT_BYTES, BUFFER_SLOTS, ANY_SEQUENCE);
        break;
    case CONTROL_GRANT: /* to a publisher */
        peer.key = message.grant.key;
        peer.slot_bytes = message.grant.slot_bytes;
        peer.slots = message.grant.slots;
        say_start(0);
        peer.lie->tell();
        break;
    case CONTROL_FINISHED: /* to a publisher, whose turn it is to end the link */
        embar_link_disconnect(peer.link);
        break;
    case CONTROL_FINISH:
        if (due(AT_FINISH))
            peer.lie->tell();
        break;
    default:
        break;
    }
}

/* False: the link is over. */
static bool handle(const struct embar_event *event)
{
    struct control_message hello;

    switch (event->type) {
    case EMBAR_EVENT_LINK_REQUEST:
        peer.link = event->link;
        if (embar_accept(event->link) != 0)
            die("accept", EIO);
        break;
    case EMBAR_EVENT_LINK_UP:
        if (peer.subscriber)
            break;
        if (due(AT_HELLO)) {
            peer.lie->tell();
            break;
        }
        hello = own_hello();
        say(&hello);
        break;
    case EMBAR_EVENT_MESSAGE:
        handle_message(event);
        break;
    case EMBAR_EVENT_ARRIVAL:
        if (due(AT_ARRIVAL) && !peer.wrote)
            peer.lie->tell();
        else if (due(AT_FINISH))
            say_credit(1, 1, (uint16_t)event->immediate);
        peer.wrote = true;
        break;
    case EMBAR_EVENT_LINK_DOWN:
        printf("ended: %s\n", event->reason);
        return false;
    case EMBAR_EVENT_WRITE_DONE:
        break;
    }
    return true;
}

static void open_transport(const char *address)
{
    struct embar_listener *listener;
    struct embar_buffer_info info;
    struct embar_diag diag = {0};
    int rc = embar_transport_open("tcp", NULL, &peer.transport, &diag);

    if (rc == 0)
        rc = embar_buffer_alloc(peer.transport, (size_t)SLOT_BYTES * BUFFER_SLOTS, NULL,
                                &peer.buffer, &diag);
    if (rc == 0 && address)
        rc = embar_connect(peer.transport, address, &peer.link, &diag);
    else if (rc == 0)
        rc = embar_listen(peer.transport, "127.0.0.1:0", &listener, &diag);
    if (rc != 0)
        die(diag.text, rc);
    if (!address)
        fprintf(stderr, "listening on %s\n", embar_listener_address(listener));
    embar_buffer_info(peer.buffer, &info);
    peer.memory = info.addr;
}

static const struct lie *find_lie(const char *name)
{
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++)
        if (strcmp(lies[i].name, name) == 0)
            return &lies[i];
    fprintf(stderr, "hostile_peer: there is no lie called %s\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    uint64_t end_ns = env_now_ns(&env_system) + PATIENCE_NS;

    if (argc < 2)
        die("usage: hostile_peer LIE [ADDRESS]", EINVAL);
    peer.lie = find_lie(argv[1]);
    peer.subscriber = peer.lie->subscriber;
    if (peer.subscriber != (argc == 2))
        die("a publisher's lie needs an ADDRESS, a subscriber's none", EINVAL);
    open_transport(argc > 2 ? argv[2] : NULL);
    while (env_now_ns(&env_system) < end_ns) {
        struct pollfd fd = {.fd = embar_fd(peer.transport), .events = POLLIN};
        struct embar_event events[8];
        int count = embar_poll(peer.transport, events, 8);

        if (count < 0)
            die("poll", count);
        for (int i = 0; i < count; i++)
            if (!handle(&events[i]))
                return 0;
        if (count == 0 && embar_arm(peer.transport) == 0)
            (void)poll(&fd, 1, 100);
    }
    printf("swallowed\n");
    return 1;
}
