/*
 * rdma_faults HOST: what the rdma backend makes of a peer that lies. A raw peer does what no honest
 * one does; its own link ends with a sentence, memory outside of what it was given stays untouched,
 * and an honest link of the same transport goes on. Needs an RDMA device that has the address HOST.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <embar/transport.h>

#include "raw_peer.h"
#include "rdma/credit.h"
#include "rdma/protocol.h"

#define BUFFER_BYTES 65536u
#define BOUND_S      60

static const char *host;

/* One link at the server's end. */
struct served {
    struct embar_link *link;
    struct embar_buffer *buffer;
    struct embar_key key;
    bool up, down;
    int status;
    char reason[EMBAR_DIAG_BYTES];
    unsigned arrivals, messages;
};

/* A server with an honest link (served[0], and the client's end of it) and a raw peer's
 * (served[1]). */
struct world {
    struct embar_transport *server, *client;
    struct embar_listener *listener;
    struct served served[2];
    unsigned served_count;
    struct embar_link *honest;
    struct embar_buffer *source;
    bool honest_up, honest_down;
    char port[8];
    struct raw_peer raw;
    struct rdma_hello hello;
    uint8_t hello_data[RDMA_HELLO_BYTES];
};

/* ---- the world ---------------------------------------------------------------------------- */

static struct served *find(struct world *w, const struct embar_link *link)
{
    for (unsigned i = 0; i < w->served_count; i++) {
        if (w->served[i].link == link)
            return &w->served[i];
    }
    fail_msg("an event of an unknown link");
    return NULL;
}

static void server_event(struct world *w, const struct embar_event *event)
{
    struct served *s;

    if (event->type == EMBAR_EVENT_LINK_REQUEST) {
        assert_true(w->served_count < 2);
        w->served[w->served_count++].link = event->link;
        assert_int_equal(embar_accept(event->link), 0);
        return;
    }
    s = find(w, event->link);
    assert_false(s->down);
    s->up |= event->type == EMBAR_EVENT_LINK_UP;
    s->arrivals += event->type == EMBAR_EVENT_ARRIVAL ? 1 : 0;
    s->messages += event->type == EMBAR_EVENT_MESSAGE ? 1 : 0;
    if (event->type == EMBAR_EVENT_LINK_DOWN) {
        s->down = true;
        s->status = event->status;
        strcpy(s->reason, event->reason);
    }
}

static void step(struct world *w)
{
    struct embar_event events[16];
    int count = embar_poll(w->server, events, 16);

    assert_true(count >= 0);
    for (int i = 0; i < count; i++)
        server_event(w, &events[i]);
    count = embar_poll(w->client, events, 16);
    assert_true(count >= 0);
    for (int i = 0; i < count; i++) {
        w->honest_up |= events[i].type == EMBAR_EVENT_LINK_UP;
        w->honest_down |= events[i].type == EMBAR_EVENT_LINK_DOWN;
    }
    raw_step(&w->raw);
}

#define until(w, condition)                                                                        \
    do {                                                                                           \
        time_t bound_ = time(NULL) + BOUND_S;                                                      \
        while (!(condition)) {                                                                     \
            step(w);                                                                               \
            if (time(NULL) > bound_)                                                               \
                fail_msg("waited too long for: %s", #condition);                                   \
        }                                                                                          \
    } while (0)

static void expose(struct world *w, struct served *s)
{
    struct embar_buffer_options options = {.hugepages = EMBAR_HUGEPAGES_NEVER, .numa_node = -1};
    struct embar_buffer_info info;

    assert_int_equal(embar_buffer_alloc(w->server, BUFFER_BYTES, &options, &s->buffer, NULL), 0);
    embar_buffer_info(s->buffer, &info);
    memset(info.addr, 0x11, BUFFER_BYTES);
    assert_int_equal(embar_buffer_expose(s->buffer, s->link, &s->key, NULL), 0);
}

/* The honest link carries a write and a message. */
static void prove_honest_link(struct world *w)
{
    struct embar_write write = {
        .buffer = w->source, .len_bytes = BUFFER_BYTES, .key = w->served[0].key, .token = 1};
    unsigned arrivals = w->served[0].arrivals, messages = w->served[0].messages;

    assert_int_equal(embar_write(w->honest, &write), 0);
    assert_int_equal(embar_send(w->honest, "still here", 10), 0);
    until(w, w->served[0].arrivals == arrivals + 1 && w->served[0].messages == messages + 1);
    assert_false(w->served[0].down);
    assert_false(w->honest_down);
}

static int setup(void **state)
{
    struct embar_buffer_options options = {.hugepages = EMBAR_HUGEPAGES_NEVER, .numa_node = -1};
    struct world *w = calloc(1, sizeof(*w));
    struct embar_diag diag = {0};
    char address[128];

    snprintf(address, sizeof(address), strchr(host, ':') != NULL ? "[%s]:0" : "%s:0", host);
    if (embar_transport_open("rdma", NULL, &w->server, &diag) < 0)
        fail_msg("%s", diag.text);
    assert_int_equal(embar_transport_open("rdma", NULL, &w->client, NULL), 0);
    if (embar_listen(w->server, address, &w->listener, &diag) < 0)
        fail_msg("%s", diag.text);
    strcpy(w->port, strrchr(embar_listener_address(w->listener), ':') + 1);
    assert_int_equal(
        embar_connect(w->client, embar_listener_address(w->listener), &w->honest, NULL), 0);
    until(w, w->honest_up && w->served[0].up);
    assert_int_equal(embar_buffer_alloc(w->client, BUFFER_BYTES, &options, &w->source, NULL), 0);
    expose(w, &w->served[0]);
    w->hello = (struct rdma_hello){.link_id = 4711,
                                   .lanes = 1,
                                   .path_mtu = 5,
                                   .receive_depth = RAW_RECEIVES,
                                   .message_bytes = RDMA_MESSAGE_BYTES};
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    prove_honest_link(w);
    raw_close(&w->raw);
    embar_link_disconnect(w->honest);
    until(w, w->honest_down && w->served[0].down && (w->served_count < 2 || w->served[1].down));
    for (unsigned i = 0; i < w->served_count; i++) {
        assert_int_equal(embar_link_close(w->served[i].link), 0);
        if (w->served[i].buffer != NULL)
            assert_int_equal(embar_buffer_free(w->served[i].buffer), 0);
    }
    assert_int_equal(embar_link_close(w->honest), 0);
    assert_int_equal(embar_buffer_free(w->source), 0);
    assert_int_equal(embar_listener_close(w->listener), 0);
    assert_int_equal(embar_transport_close(w->client), 0);
    assert_int_equal(embar_transport_close(w->server), 0);
    free(w);
    return 0;
}

static void begin_raw(struct world *w)
{
    rdma_hello_pack(&w->hello, w->hello_data);
    raw_connect(&w->raw, host, w->port, w->hello_data, sizeof(w->hello_data));
}

static struct served *join_raw(struct world *w)
{
    begin_raw(w);
    until(w, w->raw.established && w->served_count == 2 && w->served[1].up);
    return &w->served[1];
}

static void assert_ended_with(struct world *w, struct served *s, int status, const char *word)
{
    until(w, s->down);
    assert_int_equal(s->status, status);
    if (strstr(s->reason, word) == NULL)
        fail_msg("'%s' does not say '%s'", s->reason, word);
    prove_honest_link(w);
}

static bool is_untouched(const struct served *s)
{
    struct embar_buffer_info info;

    embar_buffer_info(s->buffer, &info);
    for (size_t i = 0; i < info.size_bytes; i++) {
        if (((const uint8_t *)info.addr)[i] != 0x11)
            return false;
    }
    return true;
}

/* ---- requests ----------------------------------------------------------------------------- */

static void assert_turned_away(struct world *w, const char *word)
{
    char text[RDMA_REJECT_BYTES];

    until(w, w->raw.rejected);
    assert_int_equal(w->served_count, 1);
    assert_int_equal(rdma_reject_unpack(w->raw.answer, w->raw.answer_bytes, text, sizeof(text)), 0);
    if (strstr(text, word) == NULL)
        fail_msg("'%s' does not say '%s'", text, word);
}

static void test_rdma_request_of_another_program_is_turned_away(void **state)
{
    struct world *w = *state;

    raw_connect(&w->raw, host, w->port, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_turned_away(w, "not of this program");
}

static void test_rdma_request_without_private_data_is_turned_away(void **state)
{
    struct world *w = *state;

    raw_connect(&w->raw, host, w->port, NULL, 0);
    assert_turned_away(w, "not of this program");
}

static void test_rdma_request_of_another_version_is_turned_away(void **state)
{
    struct world *w = *state;

    rdma_hello_pack(&w->hello, w->hello_data);
    w->hello_data[4] = 99;
    raw_connect(&w->raw, host, w->port, w->hello_data, sizeof(w->hello_data));
    assert_turned_away(w, "version");
}

static void test_rdma_request_with_impossible_numbers_is_turned_away(void **state)
{
    struct world *w = *state;

    w->hello.receive_depth = RDMA_RECEIVES_MAX + 1;
    begin_raw(w);
    assert_turned_away(w, "not of this program");
}

static void test_rdma_lane_of_no_link_is_turned_away(void **state)
{
    struct world *w = *state;

    w->hello.lane = 1;
    w->hello.lanes = 2;
    begin_raw(w);
    assert_turned_away(w, "no link");
}

/* ---- messages ----------------------------------------------------------------------------- */

static void send_and_expect(struct world *w, const void *data, size_t len, int status,
                            const char *word)
{
    struct served *s = join_raw(w);

    raw_send(&w->raw, data, len);
    assert_ended_with(w, s, status, word);
}

static void send_header(struct world *w, uint8_t kind, uint16_t credits, uint32_t len_bytes)
{
    struct rdma_header header = {(enum rdma_kind)kind, credits, len_bytes};
    uint8_t data[RDMA_HEADER_BYTES + 4096] = {0};

    rdma_header_pack(&header, data);
    send_and_expect(w, data, RDMA_HEADER_BYTES + len_bytes, -EPROTO, "protocol");
}

static void test_rdma_empty_message_ends_its_link_only(void **state)
{
    send_and_expect(*state, "", 0, -EPROTO, "protocol");
}

static void test_rdma_cut_header_ends_its_link_only(void **state)
{
    send_and_expect(*state, "\1\0\0\0\0\0\0", 7, -EPROTO, "protocol");
}

static void test_rdma_wrong_length_ends_its_link_only(void **state)
{
    send_and_expect(*state, "\1\0\0\0\xff\xff\xff\xff....", 12, -EPROTO, "protocol");
}

static void test_rdma_unknown_kind_ends_its_link_only(void **state)
{
    send_header(*state, 99, 0, 8);
}

static void test_rdma_invented_credits_end_its_link_only(void **state)
{
    send_header(*state, RDMA_CREDITS, 1000, 0);
}

static void test_rdma_keys_for_lanes_that_are_not_end_its_link_only(void **state)
{
    send_header(*state, RDMA_KEYS, 0, 8 + 4 * 8);
}

static void test_rdma_refusal_of_a_link_that_is_up_ends_its_link_only(void **state)
{
    send_header(*state, RDMA_REFUSED, 0, 16);
}

static void test_rdma_arrival_without_exposure_ends_its_link_only(void **state)
{
    send_header(*state, RDMA_ARRIVED, 0, RDMA_ARRIVED_BYTES);
}

static void test_rdma_message_longer_than_a_receive_ends_its_link_only(void **state)
{
    struct world *w = *state;
    uint8_t data[RDMA_MESSAGE_BYTES * 2] = {0};
    struct served *s = join_raw(w);

    raw_send(&w->raw, data, sizeof(data));
    until(w, s->down);
    assert_true(s->status < 0);
    prove_honest_link(w);
}

/* ---- writes ------------------------------------------------------------------------------- */

static void test_rdma_immediate_without_exposure_ends_its_link_only(void **state)
{
    struct world *w = *state;
    struct served *s = join_raw(w);

    raw_write(&w->raw, IBV_WR_RDMA_WRITE_WITH_IMM, 0, 0, 0);
    assert_ended_with(w, s, -EPROTO, "nothing was ever exposed");
}

static void test_rdma_immediate_of_no_bytes_ends_its_link_only(void **state)
{
    struct world *w = *state;
    struct served *s = join_raw(w);

    expose(w, s);
    raw_write(&w->raw, IBV_WR_RDMA_WRITE_WITH_IMM, 0, (uint32_t)s->key.id, 0);
    assert_ended_with(w, s, -EPROTO, "no bytes");
}

/* An honest write shows that the refusals below are for the reason they name. */
static void test_rdma_raw_write_within_its_key_arrives(void **state)
{
    struct world *w = *state;
    struct served *s = join_raw(w);

    expose(w, s);
    raw_write(&w->raw, IBV_WR_RDMA_WRITE_WITH_IMM, s->key.base, (uint32_t)s->key.id, BUFFER_BYTES);
    until(w, s->arrivals == 1 && w->raw.completions == 1);
    assert_int_equal(w->raw.last_status, IBV_WC_SUCCESS);
    assert_false(is_untouched(s));
}

static void write_and_expect_refusal(struct world *w, struct served *s, uint64_t remote_addr,
                                     uint32_t rkey, size_t len_bytes)
{
    raw_write(&w->raw, IBV_WR_RDMA_WRITE_WITH_IMM, remote_addr, rkey, len_bytes);
    until(w, w->raw.completions == 1);
    assert_int_equal(w->raw.last_status, IBV_WC_REM_ACCESS_ERR);
    assert_true(is_untouched(s));
    assert_ended_with(w, s, -EACCES, "the peer asked for something");
    assert_int_equal(s->arrivals, 0);
}

static void test_rdma_write_out_of_bounds_is_refused_by_the_device(void **state)
{
    struct world *w = *state;
    struct served *s = join_raw(w);

    expose(w, s);
    write_and_expect_refusal(w, s, s->key.base + BUFFER_BYTES - 4, (uint32_t)s->key.id, 8);
}

static void test_rdma_write_before_the_buffer_is_refused_by_the_device(void **state)
{
    struct world *w = *state;
    struct served *s = join_raw(w);

    expose(w, s);
    write_and_expect_refusal(w, s, s->key.base - 8, (uint32_t)s->key.id, 16);
}

static void test_rdma_write_with_a_guessed_key_is_refused_by_the_device(void **state)
{
    struct world *w = *state;
    struct served *s = join_raw(w);

    expose(w, s);
    write_and_expect_refusal(w, s, s->key.base, (uint32_t)s->key.id ^ 0x55, 64);
}

static void test_rdma_write_with_a_key_taken_back_is_refused_by_the_device(void **state)
{
    struct world *w = *state;
    struct served *s = join_raw(w);

    expose(w, s);
    assert_int_equal(embar_buffer_unexpose(s->buffer), 0);
    write_and_expect_refusal(w, s, s->key.base, (uint32_t)s->key.id, 64);
}

static void test_rdma_write_with_another_links_key_is_refused_by_the_device(void **state)
{
    struct world *w = *state;
    struct served *s = join_raw(w);

    expose(w, s);
    write_and_expect_refusal(w, s, w->served[0].key.base, (uint32_t)w->served[0].key.id, 64);
    assert_true(is_untouched(&w->served[0]) || w->served[0].arrivals > 0);
}

/* ---- what else a queue pair can be asked -------------------------------------------------- */

static void test_rdma_read_is_refused_by_the_device(void **state)
{
    struct world *w = *state;
    struct served *s = join_raw(w);

    expose(w, s);
    raw_write(&w->raw, IBV_WR_RDMA_READ, s->key.base, (uint32_t)s->key.id, 64);
    until(w, w->raw.completions == 1);
    assert_int_not_equal(w->raw.last_status, IBV_WC_SUCCESS);
    until(w, s->down);
    assert_true(s->status < 0);
    prove_honest_link(w);
}

static void test_rdma_peer_that_vanishes_without_goodbye_is_noticed(void **state)
{
    struct world *w = *state;
    struct served *s = join_raw(w);

    raw_close(&w->raw);
    assert_ended_with(w, s, -ECONNRESET, "without a goodbye");
}

#define FAULT_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        FAULT_TEST(test_rdma_request_of_another_program_is_turned_away),
        FAULT_TEST(test_rdma_request_without_private_data_is_turned_away),
        FAULT_TEST(test_rdma_request_of_another_version_is_turned_away),
        FAULT_TEST(test_rdma_request_with_impossible_numbers_is_turned_away),
        FAULT_TEST(test_rdma_lane_of_no_link_is_turned_away),
        FAULT_TEST(test_rdma_empty_message_ends_its_link_only),
        FAULT_TEST(test_rdma_cut_header_ends_its_link_only),
        FAULT_TEST(test_rdma_wrong_length_ends_its_link_only),
        FAULT_TEST(test_rdma_unknown_kind_ends_its_link_only),
        FAULT_TEST(test_rdma_invented_credits_end_its_link_only),
        FAULT_TEST(test_rdma_keys_for_lanes_that_are_not_end_its_link_only),
        FAULT_TEST(test_rdma_refusal_of_a_link_that_is_up_ends_its_link_only),
        FAULT_TEST(test_rdma_arrival_without_exposure_ends_its_link_only),
        FAULT_TEST(test_rdma_message_longer_than_a_receive_ends_its_link_only),
        FAULT_TEST(test_rdma_immediate_without_exposure_ends_its_link_only),
        FAULT_TEST(test_rdma_immediate_of_no_bytes_ends_its_link_only),
        FAULT_TEST(test_rdma_raw_write_within_its_key_arrives),
        FAULT_TEST(test_rdma_write_out_of_bounds_is_refused_by_the_device),
        FAULT_TEST(test_rdma_write_before_the_buffer_is_refused_by_the_device),
        FAULT_TEST(test_rdma_write_with_a_guessed_key_is_refused_by_the_device),
        FAULT_TEST(test_rdma_write_with_a_key_taken_back_is_refused_by_the_device),
        FAULT_TEST(test_rdma_write_with_another_links_key_is_refused_by_the_device),
        FAULT_TEST(test_rdma_read_is_refused_by_the_device),
        FAULT_TEST(test_rdma_peer_that_vanishes_without_goodbye_is_noticed),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: rdma_faults HOST\n");
        return 2;
    }
    host = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
