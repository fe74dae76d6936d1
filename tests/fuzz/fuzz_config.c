/*
 * Fuzzes the reader of configuration files. Whatever is accepted must be printed as a file that is
 * read back with the same value for every key, and the rules between keys must be decided without
 * harm. libFuzzer's thread; owns nothing between two inputs.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int right, const char *what)
{
    if (!right) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}

static void check_equal(const struct embar_config *a, const struct embar_config *b)
{
    const struct option_table *table = config_options(a);

    for (size_t i = 0; i < table->count; i++) {
        char one[OPTION_LIST_BYTES], two[OPTION_LIST_BYTES];

        check(embar_config_get(a, table->options[i].key, one, sizeof(one)) == 0, "no value");
        check(embar_config_get(b, table->options[i].key, two, sizeof(two)) == 0, "no value");
        check(strcmp(one, two) == 0, table->options[i].key);
    }
}

static void check_printed(const struct embar_config *config)
{
    struct embar_config *again;
    struct embar_diag diag = {0};
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    check(out != NULL && embar_config_print(config, out) == 0 && fclose(out) == 0, "not printed");
    check(embar_config_create(&again, NULL) == 0, "no second configuration");
    check(config_read_yaml(again, "printed", text, bytes, &diag) == 0, diag.text);
    check_equal(config, again);
    embar_config_destroy(again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct embar_config *config;
    struct embar_diag diag = {0};
    int rc;

    check(embar_config_create(&config, NULL) == 0, "no configuration");
    rc = config_read_yaml(config, "fuzz.yaml", (const char *)data, size, &diag);
    check((rc == 0) == (diag.text[0] == '\0'), "a sentence without an error, or none with one");
    if (rc == 0) {
        check_printed(config);
        rc = embar_config_check(config, &diag);
        check((rc == 0) == (diag.text[0] == '\0'), "a rule without a sentence");
    }
    embar_config_destroy(config);
    return 0;
}
