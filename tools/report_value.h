/* Numbers as reports write them: whole, or rounded to what was measured. Pure. */
#ifndef TOOLS_REPORT_VALUE_H
#define TOOLS_REPORT_VALUE_H

#include <math.h>
#include <stdint.h>

#include <jansson.h>

static inline json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* `steps` to a unit: three decimals are enough for a time in microseconds, a rate in GB/s or CPU
 * seconds per GB need six. */
static inline json_t *real(double value, double steps)
{
    return json_real(round(value * steps) / steps);
}

#endif
