/*
 * A folder in the place of "/", into which a test puts the kernel's files that it wants. Owned by
 * the test; one thread.
 */
#ifndef SUPPORT_FIXTURE_ROOT_H
#define SUPPORT_FIXTURE_ROOT_H

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct fixture_root {
    char path[64];
};

static inline void fixture_root_create(struct fixture_root *root)
{
    snprintf(root->path, sizeof(root->path), "/tmp/embar-fixture-XXXXXX");
    if (!mkdtemp(root->path))
        abort();
}

/* Writes ROOT/path, making the folders above it. */
static inline void fixture_root_put(const struct fixture_root *root, const char *path,
                                    const char *text)
{
    char full[PATH_MAX];

    snprintf(full, sizeof(full), "%s%s", root->path, path);
    for (char *slash = full + strlen(root->path) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(full, 0755);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0)
        abort();
}

static inline int fixture_root_remove_entry(const char *path, const struct stat *info, int type,
                                            struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

static inline void fixture_root_destroy(struct fixture_root *root)
{
    nftw(root->path, fixture_root_remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
