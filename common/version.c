/* The library's version, as the build gives it. */
#include <embar/diag.h>

const char *embar_version(void)
{
    return EMBAR_VERSION;
}
