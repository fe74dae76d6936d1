// A user of an installed Embar in C++11: a configuration held by a smart pointer, a sentence when it
// is wrong, and the library's version.
#include <cstdio>
#include <cstring>
#include <memory>

#include <embar/embar.h>
#include <embar/transport.h>

int main()
{
    embar_diag diag = {};
    embar_config *raw = nullptr;
    if (embar_config_create(&raw, &diag) < 0) {
        std::fprintf(stderr, "%s\n", diag.text);
        return 1;
    }
    std::unique_ptr<embar_config, void (*)(embar_config *)> config(raw, embar_config_destroy);
    if (embar_config_set(config.get(), "no.such.key=1", &diag) >= 0 ||
        std::strstr(diag.text, "no.such.key") == nullptr) {
        std::fprintf(stderr, "an unknown key was not refused by name: '%s'\n", diag.text);
        return 1;
    }
    if (embar_transport_names()[0] == nullptr)
        return 1;
    std::printf("version %s\n", embar_version());
    return 0;
}
