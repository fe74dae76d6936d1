/*
 * Loans of the shm backend with a peer that is not ours: what it lends is checked before it is
 * mapped and before an arrival points into it, and what it is lent is its to read, and no more, for
 * as long as it keeps the lease.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "common/memory_share.h"
#include "shm_raw_peer.h"

#define LENT_BYTES 65536u

/* ---- the peer lends -------------------------------------------------------------------------- */

/* A memfd that may be lent, each byte what its offset makes it. */
static int make_lent(void)
{
    int fd = memory_share_create("test", LENT_BYTES, 0);
    uint8_t *bytes = mmap(NULL, LENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(bytes, MAP_FAILED);
    for (size_t i = 0; i < LENT_BYTES; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    munmap(bytes, LENT_BYTES);
    assert_int_equal(memory_share_seal(fd, true), 0);
    return fd;
}

static void hand_over(enum shm_packet_type type, int fd, uint64_t key, uint64_t size_bytes)
{
    send_packet(type, fd, key, size_bytes);
    atomic_fetch_add(&peer.region->halves[0].exposures, 1);
}

static void make_lease(int ends[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
}

/* Hands a buffer over with its lease; returns the end that tells what becomes of the loan. */
static int lend_to_us(uint64_t key)
{
    int fd = make_lent(), ends[2];

    make_lease(ends);
    hand_over(SHM_PACKET_LEASE, ends[1], key, 0);
    hand_over(SHM_PACKET_LEND, fd, key, LENT_BYTES);
    close(fd);
    close(ends[1]);
    return ends[0];
}

/* Nobody holds the other end any more. */
static bool is_over(int lease_fd)
{
    char said;
    ssize_t n;

    do
        n = read(lease_fd, &said, 1);
    while (n == 1);
    return n == 0;
}

static void test_what_is_lent_is_read_where_it_lies_until_the_link_is_closed(void **state)
{
    int lease;

    (void)state;
    join();
    lease = lend_to_us(42);
    shm_ring_put_write(&peer.tx, SHM_CELL_LENT, 42, LENT_BYTES - 3, 3, 5);
    until(us.count[EMBAR_EVENT_ARRIVAL] == 1);
    assert_non_null(us.arrived);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(us.arrived[i],
                         (uint8_t)((LENT_BYTES - 3 + i) * 7 + (LENT_BYTES - 1) / 256));
    close(peer.fd);
    peer.fd = -1;
    until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
    assert_int_equal(us.arrived[0], (uint8_t)((LENT_BYTES - 3) * 7 + (LENT_BYTES - 1) / 256));
    assert_false(is_over(lease));
    assert_int_equal(embar_link_close(us.link), 0);
    us.link = NULL;
    assert_true(is_over(lease));
    close(lease);
}

static void test_writes_outside_of_what_is_lent_end_the_link(void **state)
{
    static const struct {
        uint64_t key, offset;
        uint32_t len_bytes;
    } bad[] = {{41, 0, 1},
               {0, 0, 1},
               {42, LENT_BYTES, 1},
               {42, LENT_BYTES - 1, 2},
               {42, UINT64_MAX, 1},
               {42, UINT64_MAX - 10, 100},
               {42, 0, LENT_BYTES + 1},
               {42, 0, UINT32_MAX},
               {42, 0, 0}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (i > 0) {
            tear_down(state);
            set_up(state);
        }
        join();
        close(lend_to_us(42));
        shm_ring_put_write(&peer.tx, SHM_CELL_LENT, bad[i].key, bad[i].offset, bad[i].len_bytes, 0);
        expect_down(-EACCES, "lent");
        assert_int_equal(us.count[EMBAR_EVENT_ARRIVAL], 0);
    }
}

static void test_a_key_of_one_kind_is_none_of_the_other(void **state)
{
    join();
    shm_ring_put_write(&peer.tx, SHM_CELL_LENT, us.key.id, 0, 1, 0);
    expect_down(-EACCES, "has not lent");
    tear_down(state);
    set_up(state);
    join();
    close(lend_to_us(42));
    shm_ring_put_write(&peer.tx, SHM_CELL_WRITE, 42, 0, 1, 0);
    expect_down(-EACCES, "key");
}

static void test_lent_buffers_that_could_end_in_a_fault_end_the_link(void **state)
{
    enum {
        UNSEALED,
        WRITABLE,
        SPARSE,
        SIZE,
        NO_KEY,
        NO_LEASE,
        OTHER_LEASE,
        PIPE_LEASE,
        TWICE,
        WAYS
    };

    for (int way = 0; way < WAYS; way++) {
        int fd = way == UNSEALED ? memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING)
                                 : memory_share_create("test", LENT_BYTES, 0);
        uint64_t key = way == NO_KEY ? 0 : 42;
        int ends[2];

        assert_int_equal(ftruncate(fd, LENT_BYTES), 0);
        if (way > 0) {
            tear_down(state);
            set_up(state);
        }
        if (way != SPARSE)
            assert_int_equal(fallocate(fd, 0, 0, LENT_BYTES), 0);
        if (way != WRITABLE)
            assert_int_equal(memory_share_seal(fd, true), 0);
        join();
        if (way == PIPE_LEASE)
            assert_int_equal(pipe(ends), 0);
        else
            make_lease(ends);
        if (way == TWICE)
            close(lend_to_us(41));
        if (way != NO_LEASE)
            hand_over(SHM_PACKET_LEASE, ends[1], way == OTHER_LEASE ? 43 : key, 0);
        hand_over(SHM_PACKET_LEND, fd, key, way == SIZE ? 4096 : LENT_BYTES);
        close(fd);
        close(ends[0]);
        close(ends[1]);
        expect_down(-EPROTO, "lent buffer");
    }
}

#ifndef __SANITIZE_ADDRESS__ /* which needs address space itself */
/* What cannot be mapped here is no fault of the peer's: it is told to copy. */
static void test_a_loan_that_cannot_be_mapped_is_given_back(void **state)
{
    const struct rlimit none = {.rlim_cur = 1, .rlim_max = RLIM_INFINITY};
    struct rlimit before;
    int lease;

    (void)state;
    join();
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    lease = lend_to_us(42);
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    shm_ring_put_message(&peer.tx, "on", 2);
    until(us.count[EMBAR_EVENT_MESSAGE] == 1);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_true(is_over(lease));
    close(lease);
    shm_ring_put_write(&peer.tx, SHM_CELL_WRITE, us.key.id, 0, 1, 0);
    until(us.count[EMBAR_EVENT_ARRIVAL] == 1);
    shm_ring_put_write(&peer.tx, SHM_CELL_LENT, 42, 0, 1, 0);
    expect_down(-EACCES, "has not lent");
}
#endif

static void test_a_lease_for_nothing_is_closed(void **state)
{
    int first[2], second[2];

    (void)state;
    join();
    make_lease(first);
    make_lease(second);
    hand_over(SHM_PACKET_LEASE, first[1], 1, 0);
    hand_over(SHM_PACKET_LEASE, second[1], 2, 0);
    close(first[1]);
    close(second[1]);
    shm_ring_put_message(&peer.tx, "on", 2);
    until(us.count[EMBAR_EVENT_MESSAGE] == 1);
    assert_true(is_over(first[0]));
    assert_false(is_over(second[0]));
    close(peer.fd);
    peer.fd = -1;
    until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
    assert_int_equal(embar_link_close(us.link), 0);
    us.link = NULL;
    assert_true(is_over(second[0]));
    close(first[0]);
    close(second[0]);
}

/* ---- the peer is lent to --------------------------------------------------------------------- */

/* What comes next at the peer's socket, which must be of that type; its descriptor. */
static int expect_packet(enum shm_packet_type type, struct shm_packet *packet)
{
    struct embar_diag why;
    int rc;

    do
        rc = shm_packet_receive(peer.fd, packet, &why);
    while (rc == 1 && packet->type == SHM_PACKET_WAKE);
    assert_int_equal(rc, 1);
    assert_int_equal(packet->type, type);
    assert_true(packet->fd >= 0);
    return packet->fd;
}

static void test_a_peer_reads_what_it_is_lent_and_cannot_write_it(void **state)
{
    const struct embar_buffer_options options = {
        .hugepages = EMBAR_HUGEPAGES_NEVER, .numa_node = -1, .access = EMBAR_ACCESS_LOCAL};
    struct embar_buffer_info info;
    struct embar_buffer *source;
    struct embar_loan *loan, *second;
    struct embar_write write;
    struct shm_packet packet;
    struct shm_item item;
    const uint8_t *bytes;
    int lease, fd;

    (void)state;
    join();
    assert_int_equal(embar_buffer_alloc(us.transport, LENT_BYTES, &options, &source, NULL), 0);
    embar_buffer_info(source, &info);
    assert_int_equal(embar_lend(us.link, source, &loan, NULL), 0);
    assert_int_equal(embar_lend(us.link, source, &second, NULL), -EBUSY);
    assert_int_equal(embar_transport_close(us.transport), -EBUSY);
    assert_int_equal(shm_packet_receive(peer.fd, &packet, NULL), 1);
    assert_int_equal(packet.type, SHM_PACKET_ACCEPT);
    close(expect_packet(SHM_PACKET_EXPOSE, &packet));
    lease = expect_packet(SHM_PACKET_LEASE, &packet);
    fd = expect_packet(SHM_PACKET_LEND, &packet);
    assert_int_equal(packet.size_bytes, info.size_bytes);
    assert_ptr_equal(mmap(NULL, LENT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    assert_int_equal(errno, EPERM);
    bytes = mmap(NULL, LENT_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(bytes, MAP_FAILED);
    assert_int_equal(mprotect((void *)(uintptr_t)bytes, LENT_BYTES, PROT_READ | PROT_WRITE), -1);
    close(fd);
    memset(info.addr, 0x5a, 100);
    write = (struct embar_write){
        .buffer = source, .loan = loan, .offset = 50, .len_bytes = 50, .immediate = 3};
    assert_int_equal(embar_loan_state(loan), EMBAR_LOAN_OFFERED);
    assert_int_equal(embar_write(us.link, &write), -EINVAL);
    assert_int_equal(send(lease, "", 1, 0), 1);
    assert_int_equal(embar_write(us.link, &write), -EINVAL); /* not seen yet */
    assert_int_equal(embar_loan_state(loan), EMBAR_LOAN_TAKEN);
    assert_int_equal(embar_write(us.link, &write), 0);
    assert_true(shm_ring_ready(&peer.rx));
    assert_int_equal(shm_ring_peek(&peer.rx, &item), 0);
    assert_int_equal(item.type, SHM_CELL_LENT);
    assert_int_equal(item.key, packet.key);
    assert_int_equal(item.immediate, 3);
    assert_int_equal(bytes[item.offset + item.len_bytes - 1], 0x5a);
    assert_int_equal(bytes[item.offset + item.len_bytes], 0);

    until(us.count[EMBAR_EVENT_WRITE_DONE] == 1); /* which does not mean that it was read */
    close(peer.fd);
    peer.fd = -1;
    until(us.count[EMBAR_EVENT_LINK_DOWN] == 1);
    assert_int_equal(embar_loan_state(loan), EMBAR_LOAN_TAKEN);
    assert_int_equal(embar_link_close(us.link), 0);
    us.link = NULL;
    assert_int_equal(embar_loan_state(loan), EMBAR_LOAN_TAKEN);
    for (int i = 0; i < 100; i++) /* whatever else it says */
        assert_int_equal(send(lease, "", 1, MSG_NOSIGNAL), 1);
    close(lease);
    assert_int_equal(embar_loan_state(loan), EMBAR_LOAN_OVER);
    embar_loan_close(loan);
    assert_int_equal(embar_buffer_free(source), 0);
    munmap((void *)(uintptr_t)bytes, LENT_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PEER_TEST(test_what_is_lent_is_read_where_it_lies_until_the_link_is_closed),
        PEER_TEST(test_writes_outside_of_what_is_lent_end_the_link),
        PEER_TEST(test_a_key_of_one_kind_is_none_of_the_other),
        PEER_TEST(test_lent_buffers_that_could_end_in_a_fault_end_the_link),
#ifndef __SANITIZE_ADDRESS__
        PEER_TEST(test_a_loan_that_cannot_be_mapped_is_given_back),
#endif
        PEER_TEST(test_a_lease_for_nothing_is_closed),
        PEER_TEST(test_a_peer_reads_what_it_is_lent_and_cannot_write_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
