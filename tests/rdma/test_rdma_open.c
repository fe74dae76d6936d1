/*
 * Opening the rdma transport: where the host has no device the sentence says so and names the way
 * to one; a setting out of range is refused by name wherever it runs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <infiniband/verbs.h>
#include <string.h>

#include <embar/transport.h>

#include "rdma/options.h"

static int count_devices(void)
{
    struct ibv_device **list;
    int count = 0;

    list = ibv_get_device_list(&count);
    if (list != NULL)
        ibv_free_device_list(list);
    return list != NULL ? count : 0;
}

static void test_rdma_absence_is_explained(void **state)
{
    struct embar_transport *transport = NULL;
    struct embar_diag diag = {0};
    int rc = embar_transport_open("rdma", NULL, &transport, &diag);

    (void)state;
    if (rc == 0) { /* there is one, and it works */
        assert_true(count_devices() > 0);
        assert_int_equal(embar_transport_close(transport), 0);
        return;
    }
    assert_null(transport);
    assert_int_equal(rc, -ENOTSUP);
    assert_int_equal(diag.error, ENOTSUP);
    if (count_devices() == 0)
        assert_non_null(strstr(diag.text, "tools/rxe-setup.sh"));
    else
        assert_non_null(strstr(diag.text, "RDMA device"));
}

static void test_rdma_setting_out_of_range_is_refused_by_name(void **state)
{
    static const char *const bad[][2] = {
        {"rdma.retry_count=8", NULL},     {"rdma.lanes=0", NULL},
        {"rdma.lanes=9", NULL},           {"rdma.receive_depth=7", NULL},
        {"rdma.ack_timeout=70s", NULL},   {"rdma.min_rnr_timer=656ms", NULL},
        {"rdma.traffic_class=256", NULL}, {"rdma.path_mtu=1500", NULL},
        {"rdma.completion=busy", NULL},   {"rdma.no_such_key=1", NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct embar_transport *transport = NULL;
        struct embar_diag diag = {0};
        char key[64] = "";

        memcpy(key, bad[i][0], strcspn(bad[i][0], "="));
        assert_int_equal(embar_transport_open("rdma", bad[i], &transport, &diag), -EINVAL);
        if (strstr(diag.text, key) == NULL)
            fail_msg("'%s' does not name %s", diag.text, key);
    }
}

static void test_rdma_defaults_are_those_that_the_guides_name(void **state)
{
    struct rdma_options options;

    (void)state;
    option_defaults(&rdma_options, &options);
    assert_int_equal(options.lanes, 1);
    assert_int_equal(options.retry_count, 7);
    assert_int_equal(options.rnr_retry, 7);
    assert_int_equal(options.min_rnr_timer_ns, 640000);
    assert_int_equal(options.ack_timeout_ns, 500000000);
    assert_int_equal(options.completion, RDMA_COMPLETION_ADAPTIVE);
    assert_int_equal(options.traffic_class, -1);
    assert_int_equal(rdma_options_mtu(&options), IBV_MTU_4096);
    /* Every write has a receive at the peer, with the two that are kept back. */
    assert_true(options.receive_depth >= options.send_queue_depth + 2);
    assert_int_equal(option_set(&rdma_options, "rdma.path_mtu", "1024", &options, NULL), 0);
    assert_int_equal(rdma_options_mtu(&options), IBV_MTU_1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rdma_absence_is_explained),
        cmocka_unit_test(test_rdma_setting_out_of_range_is_refused_by_name),
        cmocka_unit_test(test_rdma_defaults_are_those_that_the_guides_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
