# What `cmake --install` lays down beside the tools (tools/ says that itself): the library, the public
# headers, the man pages, the configurations, and what pkg-config and find_package need.
include(CMakePackageConfigHelpers)

install(TARGETS embar EXPORT EmbarTargets)
install(DIRECTORY core/include/embar TYPE INCLUDE FILES_MATCHING PATTERN "*.h")
install(FILES LICENSE README.md TYPE DOC)

file(GLOB configs CONFIGURE_DEPENDS config/*.yaml)
install(FILES ${configs} DESTINATION ${CMAKE_INSTALL_DATADIR}/embar)

foreach(section 1 3 5 7)
    file(GLOB pages CONFIGURE_DEPENDS docs/man/*.${section})
    install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
endforeach()

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Embar)
install(EXPORT EmbarTargets NAMESPACE embar:: DESTINATION ${package_dir})
configure_package_config_file(cmake/EmbarConfig.cmake.in ${CMAKE_BINARY_DIR}/EmbarConfig.cmake
    INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/EmbarConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/EmbarConfig.cmake ${CMAKE_BINARY_DIR}/EmbarConfigVersion.cmake
    DESTINATION ${package_dir})

file(RELATIVE_PATH to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/embar.pc.in ${CMAKE_BINARY_DIR}/embar.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/embar.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
