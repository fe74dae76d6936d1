/* Every status of a device and of the connection manager has a sentence and an errno value. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "rdma/cm_text.h"
#include "rdma/wc_text.h"

static void assert_is_sentence(const char *text)
{
    assert_non_null(text);
    assert_true(strlen(text) > 20);
    assert_null(strchr(text, '\n'));
    assert_int_not_equal(text[strlen(text) - 1], '.');
}

static void test_rdma_every_completion_status_has_a_sentence_of_its_own(void **state)
{
    const char *unknown = rdma_wc_text((enum ibv_wc_status)1000).sentence;

    (void)state;
    assert_is_sentence(unknown);
    assert_int_equal(rdma_wc_text(IBV_WC_SUCCESS).error, 0);
    for (int s = IBV_WC_SUCCESS + 1; s <= IBV_WC_TM_RNDV_INCOMPLETE; s++) {
        struct rdma_wc_text text = rdma_wc_text((enum ibv_wc_status)s);
        assert_is_sentence(text.sentence);
        assert_string_not_equal(text.sentence, unknown);
        assert_in_range(text.error, 1, 133);
    }
}

static void test_rdma_statuses_that_callers_tell_apart_keep_their_errno(void **state)
{
    (void)state;
    assert_int_equal(rdma_wc_text(IBV_WC_WR_FLUSH_ERR).error, ECANCELED);
    assert_int_equal(rdma_wc_text(IBV_WC_REM_ACCESS_ERR).error, EACCES);
    assert_int_equal(rdma_wc_text(IBV_WC_RETRY_EXC_ERR).error, ETIMEDOUT);
    assert_int_equal(rdma_wc_text(IBV_WC_RNR_RETRY_EXC_ERR).error, EPROTO);
}

static void test_rdma_every_rejection_has_a_sentence(void **state)
{
    (void)state;
    for (int status = -200; status <= 64; status++) {
        struct rdma_cm_text text = rdma_reject_text(status);
        assert_is_sentence(text.sentence);
        assert_true(text.error > 0);
    }
    assert_int_equal(rdma_reject_text(8).error, ECONNREFUSED);
    assert_non_null(strstr(rdma_reject_text(8).sentence, "nobody listens"));
    /* iWARP says it with an errno value. */
    assert_ptr_equal(rdma_reject_text(-ECONNREFUSED).sentence, rdma_reject_text(8).sentence);
}

static void test_rdma_every_unresolved_address_has_a_sentence(void **state)
{
    (void)state;
    for (int error = 0; error <= 133; error++) {
        struct rdma_cm_text text = rdma_resolve_text(error);
        assert_is_sentence(text.sentence);
        assert_true(text.error > 0);
    }
    assert_non_null(strstr(rdma_resolve_text(ENODEV).sentence, "rdma link"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rdma_every_completion_status_has_a_sentence_of_its_own),
        cmocka_unit_test(test_rdma_statuses_that_callers_tell_apart_keep_their_errno),
        cmocka_unit_test(test_rdma_every_rejection_has_a_sentence),
        cmocka_unit_test(test_rdma_every_unresolved_address_has_a_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
