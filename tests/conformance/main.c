/*
 * test_conformance BACKEND ADDRESS [KEY=VALUE]...: runs every test of the suite over one backend,
 * whose server listens on ADDRESS ("127.0.0.1:0"). The expected capabilities come from the table
 * below. A filter in EMBAR_CONFORMANCE (cmocka's: * and ? match) runs some of the tests only, one
 * in EMBAR_CONFORMANCE_SKIP leaves some out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conformance/tests.h"
#include "support/backend_mem.h"

static const struct {
    const char *backend;
    uint32_t caps;
} expected[] = {
    {"mem", EMBAR_CAP_ORDERED},
    {"memmap", EMBAR_CAP_ORDERED | EMBAR_CAP_MAPPED},
    {"tcp", EMBAR_CAP_ORDERED},
    {"rdma", EMBAR_CAP_ORDERED | EMBAR_CAP_ONE_SIDED},
    {"shm", EMBAR_CAP_ORDERED | EMBAR_CAP_ONE_SIDED | EMBAR_CAP_MAPPED},
};

static bool expect_caps(const char *backend)
{
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        if (strcmp(expected[i].backend, backend) == 0) {
            subject.expected_caps = expected[i].caps;
            return true;
        }
    }
    return false;
}

/* cmocka wants an array, and its macro wants to know the size at compile time. */
#define RUN(group) _cmocka_run_group_tests(#group, group##_tests, group##_test_count, NULL, NULL)

int main(int argc, char **argv)
{
    int failed = 0;

    if (argc < 3 || !expect_caps(argv[1])) {
        fprintf(stderr,
                "usage: test_conformance mem|memmap|tcp|rdma|shm HOST:PORT [KEY=VALUE]...\n");
        return 2;
    }
    subject.backend = argv[1];
    subject.address = argv[2];
    subject.settings = (const char *const *)argv + 3;
    for (const char *const *setting = subject.settings; *setting != NULL; setting++) {
        if (strcmp(*setting, "mem.reorder=true") == 0 ||
            (strncmp(*setting, "rdma.lanes=", 11) == 0 && strcmp(*setting + 11, "1") != 0) ||
            (strncmp(*setting, "tcp.lanes=", 10) == 0 && strcmp(*setting + 10, "1") != 0))
            subject.expected_caps &= ~EMBAR_CAP_ORDERED;
    }
    backend_mem_add();
    if (getenv("EMBAR_CONFORMANCE") != NULL)
        cmocka_set_test_filter(getenv("EMBAR_CONFORMANCE"));
    if (getenv("EMBAR_CONFORMANCE_SKIP") != NULL)
        cmocka_set_skip_filter(getenv("EMBAR_CONFORMANCE_SKIP"));
    failed += RUN(link);
    failed += RUN(message);
    failed += RUN(write);
    failed += RUN(mapping);
    failed += RUN(loan);
    failed += RUN(refusal);
    failed += RUN(sleep);
    failed += RUN(cycle);
    return failed != 0;
}
