/*
 * The shm backend against a peer that is not ours. Whatever it does ends its own link with a
 * sentence; the listener goes on.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "common/memory_share.h"
#include "shm_raw_peer.h"

/* ---- asking ---------------------------------------------------------------------------------- */

static void test_bytes_that_are_no_packet_are_dropped(void **state)
{
    static const char *const bytes[] = {"GET / HTTP/1.1\r\n\r\n", "x", "EMBSEMBSEMBSEMBSEMBSEMBS"};

    (void)state;
    for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
        connect_peer();
        assert_int_equal(send(peer.fd, bytes[i], strlen(bytes[i]), 0), (ssize_t)strlen(bytes[i]));
        expect_closed();
        close(peer.fd);
    }
    join(); /* the listener has taken no harm */
}

static void test_another_version_is_told_so(void **state)
{
    const struct shm_packet packet = {.type = SHM_PACKET_WAKE, .fd = -1};
    uint8_t bytes[SHM_PACKET_BYTES + SHM_REJECT_BYTES];
    size_t len = shm_packet_pack(&packet, bytes);

    (void)state;
    connect_peer();
    bytes[4] = SHM_VERSION + 1;
    assert_int_equal(send(peer.fd, bytes, len, 0), (ssize_t)len);
    assert_non_null(strstr(expect_closed(), "version"));
}

static void ask_with(int fd)
{
    connect_peer();
    send_packet(SHM_PACKET_REQUEST, fd, 0, 0);
    assert_non_null(strstr(expect_closed(), "region"));
    close(peer.fd);
    peer.fd = -1;
    close(fd);
}

static void test_a_region_that_could_end_in_a_fault_is_refused(void **state)
{
    int unsealed = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    (void)state;
    assert_int_equal(fallocate(unsealed, 0, 0, (off_t)sizeof(struct shm_region)), 0);
    ask_with(unsealed);
    ask_with(memory_share_create("test", sizeof(struct shm_region), 0)); /* sparse */
    ask_with(memory_share_create("test", 4096, 0));
    ask_with(dup(STDIN_FILENO));
    assert_int_equal(us.count[EMBAR_EVENT_LINK_REQUEST], 0);
}

static void test_who_does_not_ask_is_dropped(void **state)
{
    (void)state;
    connect_peer();
    send_packet(SHM_PACKET_ACCEPT, -1, 0, 0);
    expect_closed();
    close(peer.fd);
    connect_peer();
    close(peer.fd);
    for (int i = 0; i < 200; i++)
        poll_us();
    join();
}

/* ---- the ring ------------------------------------------------------------------------------- */

static void test_writes_that_the_key_does_not_allow_end_the_link(void **state)
{
    static const struct {
        uint64_t key_change, offset;
        uint32_t len_bytes;
    } bad[] = {{1, 0, 1},
               {0, BUFFER_BYTES, 1},
               {0, BUFFER_BYTES - 1, 2},
               {0, UINT64_MAX, 1},
               {0, UINT64_MAX - 10, 100},
               {0, 0, BUFFER_BYTES + 1},
               {0, 0, UINT32_MAX},
               {0, 0, 0}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (i > 0) {
            tear_down(state);
            set_up(state);
        }
        join();
        shm_ring_put_write(&peer.tx, SHM_CELL_WRITE, us.key.id ^ bad[i].key_change, bad[i].offset,
                           bad[i].len_bytes, 0);
        expect_down(-EACCES, "a write");
        assert_int_equal(us.count[EMBAR_EVENT_ARRIVAL], 0);
        assert_int_equal(atomic_load(&peer.region->halves[1].end), SHM_END_REFUSED);
        assert_true(peer.region->halves[1].reason_bytes > 0);
    }
}

static void test_a_good_write_and_a_message_arrive(void **state)
{
    (void)state;
    join();
    shm_ring_put_write(&peer.tx, SHM_CELL_WRITE, us.key.id, BUFFER_BYTES - 1, 1, 5);
    shm_ring_put_message(&peer.tx, "hello", 5);
    until(us.count[EMBAR_EVENT_MESSAGE] == 1);
    assert_int_equal(us.count[EMBAR_EVENT_ARRIVAL], 1);
    assert_string_equal(us.message, "hello");
}

static void test_a_cell_that_is_none_ends_the_link(void **state)
{
    (void)state;
    join();
    shm_ring_put_write(&peer.tx, SHM_CELL_WRITE, us.key.id, 0, 1, 0);
    until(us.count[EMBAR_EVENT_ARRIVAL] == 1);
    peer.region->halves[0].cells[1].type = 99;
    atomic_store(&peer.region->halves[0].cells[1].commit, 2);
    expect_down(-EPROTO, "cell");
}

static void test_a_counter_that_cannot_be_ends_the_link(void **state)
{
    int rc = 0;

    (void)state;
    join();
    atomic_store(&peer.region->halves[0].consumed, 1000000);
    for (unsigned i = 0; i <= SHM_CELLS && rc == 0; i++)
        rc = embar_send(us.link, "x", 1);
    assert_int_equal(rc, -EAGAIN);
    expect_down(-EPROTO, "claims to have taken");
}

static void test_a_region_full_of_noise_ends_the_link_at_most(void **state)
{
    uint64_t *words;

    (void)state;
    join();
    words = (uint64_t *)(void *)peer.region;
    srand(1);
    for (unsigned round = 0; round < 300 && us.count[EMBAR_EVENT_LINK_DOWN] == 0; round++) {
        for (size_t i = 0; i < offsetof(struct shm_half, payload) / 8; i++)
            words[i] = (uint64_t)rand() % (round < 100 ? 4 : UINT64_MAX);
        atomic_store(&peer.region->halves[0].end, (uint32_t)round % 4);
        peer.region->halves[0].reason_bytes = round * 0x1234567u;
        for (unsigned i = 0; i < 70; i++)
            poll_us();
        if (us.count[EMBAR_EVENT_LINK_DOWN] == 0)
            (void)embar_send(us.link, "x", 1);
        (void)embar_arm(us.transport);
    }
    close(peer.fd); /* and it ends, whatever the note says */
    peer.fd = -1;
    until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
}

/* ---- the socket ----------------------------------------------------------------------------- */

static void test_exposed_buffers_that_could_end_in_a_fault_end_the_link(void **state)
{
    for (int way = 0; way < 4; way++) {
        int fd = way == 0 ? memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING)
                          : memory_share_create("test", BUFFER_BYTES, 0);

        assert_int_equal(ftruncate(fd, BUFFER_BYTES), 0);
        if (way > 0) {
            tear_down(state);
            set_up(state);
        }
        if (way != 1) /* else it stays sparse */
            assert_int_equal(fallocate(fd, 0, 0, BUFFER_BYTES), 0);
        join();
        send_packet(SHM_PACKET_EXPOSE, fd, way == 3 ? 0 : 42, way == 2 ? 4096 : BUFFER_BYTES);
        close(fd);
        expect_down(-EPROTO, "exposed buffer");
    }
}

static void test_a_packet_out_of_place_ends_the_link(void **state)
{
    (void)state;
    join();
    send_packet(SHM_PACKET_ACCEPT, -1, 0, 0);
    expect_down(-EPROTO, "packet");
}

static void test_a_flood_of_wake_ups_is_survived(void **state)
{
    (void)state;
    join();
    for (unsigned i = 0; i < 5000; i++) {
        const struct shm_packet wake = {.type = SHM_PACKET_WAKE, .fd = -1};

        if (shm_packet_send(peer.fd, &wake) < 0)
            poll_us();
    }
    shm_ring_put_message(&peer.tx, "on", 2);
    until(us.count[EMBAR_EVENT_MESSAGE] == 1);
    assert_int_equal(us.count[EMBAR_EVENT_LINK_DOWN], 0);
}

static void test_a_peer_that_dies_has_delivered_what_it_published(void **state)
{
    (void)state;
    join();
    poll_us();
    (void)embar_arm(us.transport); /* the next poll asks the socket first */
    shm_ring_put_message(&peer.tx, "last", 4);
    close(peer.fd);
    peer.fd = -1;
    expect_down(-ECONNRESET, "ended or was killed");
    assert_int_equal(us.count[EMBAR_EVENT_MESSAGE], 1);
}

static void test_a_note_makes_the_end_orderly(void **state)
{
    (void)state;
    join();
    poll_us();
    (void)embar_arm(us.transport);
    shm_ring_put_message(&peer.tx, "last", 4);
    atomic_store(&peer.region->halves[0].end, SHM_END_ORDERLY);
    close(peer.fd);
    peer.fd = -1;
    expect_down(0, "ended the link");
    assert_int_equal(us.count[EMBAR_EVENT_MESSAGE], 1);
}

static unsigned count_wakes(void)
{
    struct shm_packet packet;
    struct embar_diag why;
    unsigned wakes = 0;

    while (shm_packet_receive(peer.fd, &packet, &why) == 1) {
        wakes += packet.type == SHM_PACKET_WAKE;
        if (packet.fd >= 0)
            close(packet.fd);
    }
    return wakes;
}

static void test_a_sleeper_is_woken_by_one_packet_for_many_cells(void **state)
{
    (void)state;
    join();
    atomic_store(&peer.region->halves[0].sleeping, 1);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(embar_send(us.link, "x", 1), 0);
    assert_int_equal(count_wakes(), 1);
    assert_int_equal(atomic_load(&peer.region->halves[0].sleeping), 0);
}

static void test_who_waits_for_room_asks_to_be_woken_for_it(void **state)
{
    (void)state;
    join();
    assert_int_equal(embar_send(us.link, "x", 1), 0);
    assert_int_equal(embar_arm(us.transport), 0);
    assert_int_equal(atomic_load(&peer.region->halves[1].wants_room), 0);
    poll_us();
    while (embar_send(us.link, "x", 1) == 0)
        continue;
    assert_int_equal(embar_arm(us.transport), 0);
    assert_int_equal(atomic_load(&peer.region->halves[1].sleeping), 1);
    assert_int_equal(atomic_load(&peer.region->halves[1].wants_room), 1);
    atomic_store(&peer.region->halves[0].consumed, SHM_CELLS);
    assert_int_equal(embar_arm(us.transport), -EAGAIN); /* there is room: no sleep */
    poll_us();
    assert_int_equal(embar_send(us.link, "x", 1), 0);
}

static void test_a_sleeper_that_waits_for_room_is_woken_when_its_cells_are_taken(void **state)
{
    (void)state;
    join();
    shm_ring_put_message(&peer.tx, "1", 1);
    atomic_store(&peer.region->halves[0].sleeping, 1);
    until(us.count[EMBAR_EVENT_MESSAGE] == 1);
    assert_int_equal(count_wakes(), 0); /* it sleeps, but not for room */
    shm_ring_put_message(&peer.tx, "2", 1);
    atomic_store(&peer.region->halves[0].wants_room, 1);
    until(us.count[EMBAR_EVENT_MESSAGE] == 2);
    assert_int_equal(count_wakes(), 1);
}

/* ---- buffers of other transports ------------------------------------------------------------- */

static void test_a_buffer_of_another_transport_is_exposed_once_adopted(void **state)
{
    struct embar_transport *tcp = NULL;
    struct embar_buffer *owner = NULL, *adopted = NULL;
    struct embar_buffer_info info;
    struct embar_key key;

    (void)state;
    join();
    assert_int_equal(embar_buffer_unexpose(us.buffer), 0);
    assert_int_equal(embar_transport_open("tcp", NULL, &tcp, NULL), 0);
    assert_int_equal(embar_buffer_alloc(tcp, 65536, NULL, &owner, NULL), 0);
    embar_buffer_info(owner, &info);
    assert_int_equal(
        embar_buffer_adopt(us.transport, info.addr, info.size_bytes, 0, &adopted, NULL), 0);
    assert_int_equal(embar_buffer_expose(adopted, us.link, &key, NULL), 0);
    shm_ring_put_write(&peer.tx, SHM_CELL_WRITE, key.id, info.size_bytes - 1, 1, 9);
    until(us.count[EMBAR_EVENT_ARRIVAL] == 1);
    assert_int_equal(embar_buffer_unexpose(adopted), 0);
    assert_int_equal(embar_buffer_free(adopted), 0);
    assert_int_equal(embar_buffer_free(owner), 0);
    assert_int_equal(embar_transport_close(tcp), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PEER_TEST(test_bytes_that_are_no_packet_are_dropped),
        PEER_TEST(test_another_version_is_told_so),
        PEER_TEST(test_a_region_that_could_end_in_a_fault_is_refused),
        PEER_TEST(test_who_does_not_ask_is_dropped),
        PEER_TEST(test_writes_that_the_key_does_not_allow_end_the_link),
        PEER_TEST(test_a_good_write_and_a_message_arrive),
        PEER_TEST(test_a_cell_that_is_none_ends_the_link),
        PEER_TEST(test_a_counter_that_cannot_be_ends_the_link),
        PEER_TEST(test_a_region_full_of_noise_ends_the_link_at_most),
        PEER_TEST(test_exposed_buffers_that_could_end_in_a_fault_end_the_link),
        PEER_TEST(test_a_packet_out_of_place_ends_the_link),
        PEER_TEST(test_a_flood_of_wake_ups_is_survived),
        PEER_TEST(test_a_peer_that_dies_has_delivered_what_it_published),
        PEER_TEST(test_a_note_makes_the_end_orderly),
        PEER_TEST(test_a_sleeper_is_woken_by_one_packet_for_many_cells),
        PEER_TEST(test_who_waits_for_room_asks_to_be_woken_for_it),
        PEER_TEST(test_a_sleeper_that_waits_for_room_is_woken_when_its_cells_are_taken),
        PEER_TEST(test_a_buffer_of_another_transport_is_exposed_once_adopted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
