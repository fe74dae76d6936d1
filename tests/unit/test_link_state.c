/* The link state machine: which input leads where, told independently of its table. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "transport/object.h"

struct row {
    enum link_state from;
    enum link_input input;
    enum link_state to;
};

/* Everything that is allowed; what is not listed must be refused. */
static const struct row allowed[] = {
    {LINK_REQUESTED, LINK_ACCEPT, LINK_ACCEPTING},
    {LINK_REQUESTED, LINK_REJECT, LINK_ENDING},
    {LINK_REQUESTED, LINK_DISCONNECT, LINK_ENDING},
    {LINK_REQUESTED, LINK_REPORT_DOWN, LINK_DOWN},
    {LINK_ACCEPTING, LINK_ANSWER_FAILED, LINK_REQUESTED},
    {LINK_ACCEPTING, LINK_DISCONNECT, LINK_ENDING},
    {LINK_ACCEPTING, LINK_REPORT_UP, LINK_UP},
    {LINK_ACCEPTING, LINK_REPORT_DOWN, LINK_DOWN},
    {LINK_CONNECTING, LINK_DISCONNECT, LINK_ENDING},
    {LINK_CONNECTING, LINK_REPORT_UP, LINK_UP},
    {LINK_CONNECTING, LINK_REPORT_DOWN, LINK_DOWN},
    {LINK_UP, LINK_DISCONNECT, LINK_ENDING},
    {LINK_UP, LINK_REPORT_DOWN, LINK_DOWN},
    {LINK_ENDING, LINK_ANSWER_FAILED, LINK_REQUESTED},
    {LINK_ENDING, LINK_DISCONNECT, LINK_ENDING},
    {LINK_ENDING, LINK_REPORT_UP, LINK_ENDING},
    {LINK_ENDING, LINK_REPORT_DOWN, LINK_DOWN},
    {LINK_DOWN, LINK_ANSWER_FAILED, LINK_DOWN},
    {LINK_DOWN, LINK_DISCONNECT, LINK_DOWN},
    {LINK_DOWN, LINK_DOWN_POLLED, LINK_OVER},
    {LINK_OVER, LINK_DISCONNECT, LINK_OVER},
};

static const struct row *find(enum link_state from, enum link_input input)
{
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        if (allowed[i].from == from && allowed[i].input == input)
            return &allowed[i];
    }
    return NULL;
}

static void test_every_state_takes_just_the_inputs_that_make_sense(void **state)
{
    (void)state;
    for (int from = 0; from < LINK_STATES; from++) {
        for (int input = 0; input < LINK_INPUTS; input++) {
            const struct row *row = find((enum link_state)from, (enum link_input)input);
            int to = link_state_next((enum link_state)from, (enum link_input)input);

            assert_int_equal(to, row != NULL ? (int)row->to : LINK_NEVER);
        }
    }
}

static void test_a_refused_input_changes_nothing(void **state)
{
    struct embar_link link = {.state = LINK_OVER};

    (void)state;
    assert_int_equal(link_state_step(&link, LINK_REPORT_UP), -EINVAL);
    assert_int_equal(link.state, LINK_OVER);
    link.state = LINK_UP;
    assert_int_equal(link_state_step(&link, LINK_ACCEPT), -EINVAL);
    assert_int_equal(link.state, LINK_UP);
}

static char logged[256];
static unsigned lines;

static void keep_line(enum embar_log_level level, const char *line, void *user)
{
    (void)level;
    (void)user;
    lines++;
    strncpy(logged, line, sizeof(logged) - 1);
}

static void test_every_change_is_logged_once_with_the_link_id(void **state)
{
    struct embar_link link = {.id = 42};

    (void)state;
    embar_log_set(EMBAR_LOG_DEBUG, keep_line, NULL);
    link_state_begin(&link, LINK_CONNECTING);
    lines = 0;
    assert_int_equal(link_state_step(&link, LINK_REPORT_UP), 0);
    assert_int_equal(lines, 1);
    assert_string_equal(logged, "link 42: connecting -> up");
    assert_int_equal(link_state_step(&link, LINK_DISCONNECT), 0);
    assert_int_equal(lines, 2);
    assert_int_equal(link_state_step(&link, LINK_DISCONNECT), 0); /* no change */
    assert_int_equal(lines, 2);
    embar_log_set(EMBAR_LOG_ERROR, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_state_takes_just_the_inputs_that_make_sense),
        cmocka_unit_test(test_a_refused_input_changes_nothing),
        cmocka_unit_test(test_every_change_is_logged_once_with_the_link_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
