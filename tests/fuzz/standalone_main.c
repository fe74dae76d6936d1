/*
 * Drives a fuzz target where there is no libFuzzer: runs it over files, then over mutations of them
 * that a seed decides, so that two runs are the same. When the target crashes the input goes to
 * stderr in hexadecimal. One thread.
 *
 *   fuzz_NAME [-n MUTATIONS] [-s SEED] [FILE|FOLDER]...
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_INPUT_BYTES 4096
#define MAX_SEEDS       1024
#define MAX_CHANGES     8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of the sanitizers; absent without them. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

struct input {
    uint8_t *data; /* owned */
    size_t size;
};

static struct input seeds[MAX_SEEDS];
static size_t seed_count;

/* What the target works on now, for the crash report. */
static const uint8_t *current_data;
static size_t current_size;

/* ---- the crash report -------------------------------------------------------------------------
 */

static void report_input(void)
{
    static const char digits[] = "0123456789abcdef";
    static char text[2 * MAX_INPUT_BYTES + 64];
    int len = snprintf(text, sizeof(text), "crashed on this input of %zu bytes: ", current_size);
    size_t at = (size_t)len;

    for (size_t i = 0; i < current_size && at + 3 < sizeof(text); i++) {
        text[at++] = digits[current_data[i] >> 4];
        text[at++] = digits[current_data[i] & 15];
    }
    text[at++] = '\n';
    if (write(STDERR_FILENO, text, at) < 0)
        _exit(1);
}

static void on_signal(int signal_number)
{
    report_input();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void watch_for_crashes(void)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signal(signals[i], on_signal);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(report_input);
}

/* ---- inputs -----------------------------------------------------------------------------------
 */

/* The target gets a block of just the input's size, so that a sanitizer sees the first byte past
 * it. */
static void run_target(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    if (!copy)
        abort();
    memcpy(copy, data, size);
    current_data = copy;
    current_size = size;
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static bool add_file(const char *path)
{
    FILE *file = fopen(path, "re");
    uint8_t *data = malloc(MAX_INPUT_BYTES);

    if (!file || !data || seed_count == MAX_SEEDS) {
        fprintf(stderr, "%s: %s\n", path, file ? "too many seeds" : strerror(errno));
        free(data);
        if (file)
            fclose(file);
        return false;
    }
    seeds[seed_count++] = (struct input){data, fread(data, 1, MAX_INPUT_BYTES, file)};
    fclose(file);
    return true;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static bool add_path(const char *path)
{
    struct dirent **entries;
    struct stat info;
    bool ok = true;

    if (stat(path, &info) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return false;
    }
    if (!S_ISDIR(info.st_mode))
        return add_file(path);
    int count = scandir(path, &entries, NULL, by_name);
    for (int i = 0; i < count; i++) {
        char full[PATH_MAX];
        snprintf(full, sizeof(full), "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.' && ok)
            ok = add_file(full);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return ok && count >= 0;
}

/* ---- mutations --------------------------------------------------------------------------------
 */

/* splitmix64: small, and the same everywhere. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15ull);

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

static size_t below(uint64_t *state, size_t bound)
{
    return bound == 0 ? 0 : (size_t)(next_random(state) % bound);
}

/* Opens a gap of `len` bytes at `at`; returns how many there was room for. */
static size_t open_gap(struct input *input, size_t at, size_t len)
{
    if (len > MAX_INPUT_BYTES - input->size)
        len = MAX_INPUT_BYTES - input->size;
    memmove(input->data + at + len, input->data + at, input->size - at);
    input->size += len;
    return len;
}

static void change(struct input *input, uint64_t *state)
{
    static const uint8_t telling[] = {0, 1, 0x7F, 0x80, 0xFF, ' ', '"', ',', ':', '[', ']', '\n'};
    size_t at = below(state, input->size + 1), left = input->size - at, len;

    switch (next_random(state) % 6) {
    case 0: /* flip a bit */
        if (left > 0)
            input->data[at] ^= (uint8_t)(1u << below(state, 8));
        break;
    case 1: /* a telling byte */
        if (left > 0)
            input->data[at] = telling[below(state, sizeof(telling))];
        break;
    case 2: /* random bytes in between */
        len = open_gap(input, at, 1 + below(state, 8));
        for (size_t i = 0; i < len; i++)
            input->data[at + i] = (uint8_t)next_random(state);
        break;
    case 3: /* drop some */
        len = below(state, left + 1);
        memmove(input->data + at, input->data + at + len, left - len);
        input->size -= len;
        break;
    case 4: /* cut the end off */
        input->size = at;
        break;
    case 5: /* a piece of a seed in between */
        if (seed_count > 0) {
            const struct input *from = &seeds[below(state, seed_count)];
            size_t start = below(state, from->size + 1);
            len = open_gap(input, at, below(state, from->size - start + 1));
            memcpy(input->data + at, from->data + start, len);
        }
        break;
    }
}

static void run_mutations(unsigned long count, uint64_t state)
{
    static uint8_t data[MAX_INPUT_BYTES];

    for (unsigned long i = 0; i < count; i++) {
        struct input input = {data, 0};
        if (seed_count > 0) {
            const struct input *from = &seeds[below(&state, seed_count)];
            memcpy(data, from->data, from->size);
            input.size = from->size;
        }
        for (size_t changes = 1 + below(&state, MAX_CHANGES); changes > 0; changes--)
            change(&input, &state);
        run_target(input.data, input.size);
    }
}

int main(int argc, char **argv)
{
    unsigned long mutations = 0;
    uint64_t seed = 1;
    int option;

    while ((option = getopt(argc, argv, "n:s:")) != -1) {
        if (option == 'n')
            mutations = strtoul(optarg, NULL, 10);
        else if (option == 's')
            seed = strtoull(optarg, NULL, 10);
        else
            return 2;
    }
    for (; optind < argc; optind++)
        if (!add_path(argv[optind]))
            return 2;
    watch_for_crashes();
    run_target((const uint8_t *)"", 0);
    for (size_t i = 0; i < seed_count; i++)
        run_target(seeds[i].data, seeds[i].size);
    run_mutations(mutations, seed);
    printf("%zu seeds and %lu mutations\n", seed_count, mutations);
    for (size_t i = 0; i < seed_count; i++)
        free(seeds[i].data);
    return 0;
}
