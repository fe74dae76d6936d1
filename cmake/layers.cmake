# Who may include whom. Each layer offers its headers through a folder of links in the build tree, so
# that `#include "LAYER/x.h"` is found only by a target that names the layer in its dependencies.
function(embar_offer layer folder)
    set(dir ${CMAKE_BINARY_DIR}/layers/${layer})
    file(MAKE_DIRECTORY ${dir})
    get_filename_component(name ${folder} NAME)
    file(CREATE_LINK ${CMAKE_SOURCE_DIR}/${folder} ${dir}/${name} SYMBOLIC)
    add_library(offer_${layer} INTERFACE)
    target_include_directories(offer_${layer} INTERFACE ${dir})
endfunction()

# The public headers.
add_library(offer_public INTERFACE)
target_include_directories(offer_public INTERFACE ${CMAKE_SOURCE_DIR}/core/include)

embar_offer(common common)
embar_offer(transport core/transport)
embar_offer(stream core/stream)

# A backend sees backend.h of core/transport and nothing else of it; the stream level sees registry.h.
foreach(pair contract:backend registry:registry)
    string(REPLACE ":" ";" pair ${pair})
    list(GET pair 0 layer)
    list(GET pair 1 header)
    set(dir ${CMAKE_BINARY_DIR}/layers/${layer}/transport)
    file(MAKE_DIRECTORY ${dir})
    file(CREATE_LINK ${CMAKE_SOURCE_DIR}/core/transport/${header}.h ${dir}/${header}.h SYMBOLIC)
    add_library(offer_${layer} INTERFACE)
    target_include_directories(offer_${layer} INTERFACE ${CMAKE_BINARY_DIR}/layers/${layer})
endforeach()

# A layer of the library: an archive of the folder's sources, compiled against what it may include.
function(embar_layer target)
    cmake_parse_arguments(arg "" "" "SOURCES;MAY_INCLUDE" ${ARGN})
    if(NOT arg_SOURCES)
        file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/empty.c "")
        set(arg_SOURCES ${CMAKE_CURRENT_BINARY_DIR}/empty.c)
    endif()
    add_library(${target} STATIC ${arg_SOURCES})
    target_link_libraries(${target} PRIVATE offer_public ${arg_MAY_INCLUDE})
endfunction()
