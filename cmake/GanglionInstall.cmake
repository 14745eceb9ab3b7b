# cmake --install: headers, libraries, the command, and a package that find_package(ganglion) finds.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS ganglion_model_io ganglion_actors ganglion_engine EXPORT ganglion_targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(layer model_io actors engine)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${layer}/include/ganglion DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endforeach()
if(TARGET ganglion_command)
  install(TARGETS ganglion_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

set(ganglion_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/ganglion)
install(EXPORT ganglion_targets NAMESPACE ganglion:: FILE ganglionTargets.cmake DESTINATION ${ganglion_package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/ganglionConfig.cmake.in
  ${PROJECT_BINARY_DIR}/ganglionConfig.cmake INSTALL_DESTINATION ${ganglion_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ganglionConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ganglionConfig.cmake ${PROJECT_BINARY_DIR}/ganglionConfigVersion.cmake
  ${CMAKE_CURRENT_LIST_DIR}/FindCAF.cmake DESTINATION ${ganglion_package_dir})
