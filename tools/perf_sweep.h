/* The points of a sweep and the configuration of each. Pure, but for the files that -c names. */
#ifndef TOOLS_PERF_SWEEP_H
#define TOOLS_PERF_SWEEP_H

#include "perf.h"
#include "tool.h"

/* The option without its dashes, also the name in the table and in the JSON. */
const char *perf_dimension_name(enum perf_dimension dimension);

/* Whether its values are numbers with an order. */
bool perf_dimension_is_number(enum perf_dimension dimension);

/* Takes "A,B,C" as the values of a dimension; copies it. */
enum tool_status perf_sweep_list(struct perf_plan *plan, enum perf_dimension dimension,
                                 const char *list, struct outcome *outcome);

void perf_sweep_free(struct perf_plan *plan);

/* How many points the cross product has. */
size_t perf_sweep_points(const struct perf_plan *plan);

/* Point `index`, of which the last dimension varies fastest. */
enum tool_status perf_sweep_point(const struct perf_plan *plan, size_t index,
                                  struct perf_point *point, struct outcome *outcome);

/* The configuration of a point for both roles, without addresses. Returns 0 or a negative errno as
 * the calls of <embar/config.h>. The caller destroys it. */
int perf_sweep_config(const struct perf_plan *plan, const struct perf_point *point,
                      struct embar_config **config, struct embar_diag *diag);

/* One key of it, formatted. */
__attribute__((format(printf, 3, 4))) int perf_config_set(struct embar_config *config,
                                                          struct embar_diag *diag, const char *fmt,
                                                          ...);

#endif
