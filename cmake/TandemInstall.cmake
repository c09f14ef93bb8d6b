# Two export sets, so that a project which wants tandem::runtime alone never looks for oneTBB.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/tandem")
foreach(part IN ITEMS runtime graph)
  install(TARGETS tandem_${part} EXPORT tandem_${part} FILE_SET HEADERS)
  install(EXPORT tandem_${part} NAMESPACE tandem:: FILE tandem-${part}.cmake DESTINATION "${package_dir}")
endforeach()
configure_package_config_file(cmake/tandem-config.cmake.in "${PROJECT_BINARY_DIR}/tandem-config.cmake"
  INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/tandem-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/tandem-config.cmake" "${PROJECT_BINARY_DIR}/tandem-config-version.cmake"
  cmake/FindxxHash.cmake cmake/FindRandom123.cmake cmake/Findlibdw.cmake DESTINATION "${package_dir}")
