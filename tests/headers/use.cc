/* A C++ program on the public headers: it links (the functions have C linkage) and runs. */
#include <cerrno>
#include <cstdio>
#include <cstring>

#include <embar/embar.h>
#include <embar/transport.h>

int main()
{
    embar_transport *transport = nullptr;
    embar_config *config = nullptr;
    embar_diag diag = {};

    if (embar_transport_open("none", nullptr, &transport, &diag) != -ENOENT || diag.error != ENOENT)
        return 1;
    if (embar_config_create(&config, &diag) != 0)
        return 2;
    embar_config_destroy(config);
    return std::strlen(embar_version()) > 0 ? 0 : 3;
}
