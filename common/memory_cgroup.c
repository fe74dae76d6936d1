/*
 * Finds the process's own cgroups and the tightest limit over them and all above, since a limit
 * holds for everything below it. Owns nothing; any thread.
 */
#include "common/memory_facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"

#define TEXT_BYTES       16384               /* one line per hierarchy */
#define LIMIT_MEANS_NONE ((uint64_t)1 << 62) /* "max", or in places the largest signed number */

/* Where a hierarchy is mounted, and which of its folders is the mount's root (field 4). */
struct hierarchy {
    char mount_point[PATH_MAX / 2];
    char mount_root[PATH_MAX / 2];
};

/* Whether a list of words joined with commas has the word. */
static bool has_word(const char *list, size_t list_len, const char *word)
{
    size_t len = strlen(word);

    for (const char *c = list, *end = list + list_len; c < end;) {
        const char *comma = memchr(c, ',', (size_t)(end - c));
        size_t span = (size_t)((comma ? comma : end) - c);
        if (span == len && memcmp(c, word, len) == 0)
            return true;
        c += span + 1;
    }
    return false;
}

/* Whether a line of /proc/self/mountinfo (proc(5)) mounts the hierarchy wanted; then fills it in.
 * Cuts the line to pieces. */
static bool read_mount(char *line, const char *v1_controller, struct hierarchy *hierarchy)
{
    char *fields[5] = {NULL};
    char *save = NULL;
    char *tail = strstr(line, " - ");

    if (!tail)
        return false;
    *tail = '\0';
    tail += 3;
    fields[0] = strtok_r(line, " ", &save);
    for (int i = 1; i < 5 && fields[i - 1]; i++)
        fields[i] = strtok_r(NULL, " ", &save);
    if (!fields[4])
        return false;
    if (v1_controller) {
        const char *options = strrchr(tail, ' ');
        if (strncmp(tail, "cgroup ", 7) != 0 || !options ||
            !has_word(options + 1, strcspn(options + 1, "\n"), v1_controller))
            return false;
    } else if (strncmp(tail, "cgroup2 ", 8) != 0) {
        return false;
    }
    text_format(hierarchy->mount_root, sizeof(hierarchy->mount_root), "%s", fields[3]);
    text_format(hierarchy->mount_point, sizeof(hierarchy->mount_point), "%s", fields[4]);
    return true;
}

/* The hierarchy of the controller in v1, or the one of v2 when `v1_controller` is NULL. A host with
 * many containers has a long list of mounts: read line by line. */
static bool find_hierarchy(const char *root, const char *v1_controller, struct hierarchy *hierarchy)
{
    char path[PATH_MAX];
    char *line = NULL;
    size_t room = 0;
    bool found = false;

    text_format(path, sizeof(path), "%s/proc/self/mountinfo", root);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    while (!found && getline(&line, &room, file) > 0)
        found = read_mount(line, v1_controller, hierarchy);
    free(line);
    fclose(file);
    return found;
}

/* The process's path in the hierarchy, from a line "ID:CONTROLLERS:PATH" of /proc/self/cgroup; v2
 * has the ID 0 and no controllers. */
static bool find_path(const char *cgroups, const char *v1_controller, char *path, size_t path_bytes)
{
    for (const char *line = cgroups; *line;) {
        size_t len = strcspn(line, "\n");
        const char *list = memchr(line, ':', len);
        const char *rest = list ? memchr(list + 1, ':', len - (size_t)(list + 1 - line)) : NULL;
        if (rest) {
            size_t list_len = (size_t)(rest - list - 1);
            bool found = v1_controller ? has_word(list + 1, list_len, v1_controller)
                                       : strncmp(line, "0::", 3) == 0;
            if (found) {
                text_format(path, path_bytes, "%.*s", (int)(len - (size_t)(rest + 1 - line)),
                            rest + 1);
                return true;
            }
        }
        line += len + (line[len] == '\n');
    }
    return false;
}

static uint64_t headroom(uint64_t limit, uint64_t used)
{
    return limit > used ? limit - used : 0;
}

static void consider(struct memory_cgroup *cgroup, const char *root, const char *folder,
                     const char *limit_name, const char *used_name)
{
    char file[PATH_MAX];

    text_format(file, sizeof(file), "%s/%s", folder, used_name);
    uint64_t used = memory_read_number(root, file, 0);
    text_format(file, sizeof(file), "%s/%s", folder, limit_name);
    uint64_t limit = memory_read_number(root, file, MEMORY_NO_LIMIT);
    if (limit >= LIMIT_MEANS_NONE ||
        (cgroup->limit_bytes != MEMORY_NO_LIMIT &&
         headroom(limit, used) >= headroom(cgroup->limit_bytes, cgroup->used_bytes)))
        return;
    cgroup->limit_bytes = limit;
    cgroup->used_bytes = used;
    text_format(cgroup->file, sizeof(cgroup->file), "%s", file);
}

static void climb(struct memory_cgroup *cgroup, const char *root, const struct hierarchy *hierarchy,
                  const char *path, const char *limit_name, const char *used_name)
{
    char folder[PATH_MAX];
    size_t mount_len = strlen(hierarchy->mount_point);
    size_t root_len = strlen(hierarchy->mount_root);

    /* A container has its own folder mounted as the hierarchy's root, but may see its whole path.
     * Of a path that lies outside, the root's limit is all there is to see. */
    if (root_len > 1) {
        bool below = strncmp(path, hierarchy->mount_root, root_len) == 0 &&
                     (path[root_len] == '/' || path[root_len] == '\0');
        path = below ? path + root_len : "";
    }
    text_format(folder, sizeof(folder), "%s%s", hierarchy->mount_point, path);
    for (;;) {
        consider(cgroup, root, folder, limit_name, used_name);
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < mount_len)
            return;
        *slash = '\0';
    }
}

void memory_cgroup_read(struct memory_cgroup *cgroup, const char *root,
                        const struct memory_cgroup_files *files)
{
    struct hierarchy hierarchy;
    char path[PATH_MAX / 2], cgroups[TEXT_BYTES];

    if (!memory_read_text(root, "/proc/self/cgroup", cgroups, sizeof(cgroups)))
        return;
    if (find_hierarchy(root, files->controller, &hierarchy) &&
        find_path(cgroups, files->controller, path, sizeof(path)))
        climb(cgroup, root, &hierarchy, path, files->v1_limit, files->v1_used);
    else if (find_hierarchy(root, NULL, &hierarchy) && find_path(cgroups, NULL, path, sizeof(path)))
        climb(cgroup, root, &hierarchy, path, files->v2_limit, files->v2_used);
}
