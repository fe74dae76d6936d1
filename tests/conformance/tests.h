/* The groups of the conformance suite; each file defines one array, and main.c runs them all. */
#ifndef CONFORMANCE_TESTS_H
#define CONFORMANCE_TESTS_H

#include "conformance/world.h"

extern const struct CMUnitTest link_tests[], message_tests[], write_tests[], mapping_tests[],
    loan_tests[], refusal_tests[], sleep_tests[], cycle_tests[];
extern const size_t link_test_count, message_test_count, write_test_count, mapping_test_count,
    loan_test_count, refusal_test_count, sleep_test_count, cycle_test_count;

#endif
