# What can be chosen from outside. Included by another project (add_subdirectory), only the libraries are built.
option(GANGLION_BUILD_TOOLS "Build the ganglion command" ${PROJECT_IS_TOP_LEVEL})
option(GANGLION_BUILD_EXAMPLES "Build the examples" ${PROJECT_IS_TOP_LEVEL})
option(GANGLION_BUILD_PYTHON "Build the Python packages torch_neuron and torch_neuronx" ${PROJECT_IS_TOP_LEVEL})
option(GANGLION_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(GANGLION_INSTALL "Generate the install rules" ${PROJECT_IS_TOP_LEVEL})
option(GANGLION_WERROR "Treat warnings as errors" ${PROJECT_IS_TOP_LEVEL})
option(GANGLION_UNITY "Compile the sources of a target several at a time, which takes half of the time" ON)
option(GANGLION_CCACHE "Compile through ccache where it is installed" ${PROJECT_IS_TOP_LEVEL})
# Some tests are Python programs that need PyTorch. Debian's is for the system's own python3, and another one may be
# before it in PATH, so it is not looked for there.
set(GANGLION_PYTHON /usr/bin/python3 CACHE FILEPATH "The Python that has PyTorch, for torch_neuron and for the tests")
set(GANGLION_SANITIZE "" CACHE STRING "Sanitizers to build with, e.g. address,undefined")
option(GANGLION_FUZZ "Let the fuzz targets see what the libraries do" OFF)
find_library(GANGLION_LIBFUZZER NAMES Fuzzer PATHS /usr/lib/llvm-14/lib)

if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
  endif()
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  if(GANGLION_CCACHE)
    find_program(GANGLION_CCACHE_PROGRAM ccache)
    if(GANGLION_CCACHE_PROGRAM)
      # The sloppiness is what ccache documents for precompiled headers.
      set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
        CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
        ${GANGLION_CCACHE_PROGRAM})
    endif()
  endif()
  # GNU's other linker is there with the first, and links the sixty programs eight times as fast.
  include(CheckLinkerFlag)
  check_linker_flag(CXX -fuse-ld=gold GANGLION_LINKER_GOLD)
  if(GANGLION_LINKER_GOLD)
    add_link_options(-fuse-ld=gold)
  endif()
endif()
