# ganglion_library(<layer> SOURCES ... LINK ... PRIVATE_LINK ...): one layer as the static library ganglion::<layer>.
function(ganglion_compile_options target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  # Most of what a source file costs the compiler is in the headers of LibTorch and CAF, precompiled or not.
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${GANGLION_UNITY} UNITY_BUILD_BATCH_SIZE 9)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers
    # g++ 12 reports these two falsely inside its own string header.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict> $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow>
    $<$<BOOL:${GANGLION_WERROR}>:-Werror>)
  if(GANGLION_SANITIZE)
    # Without vptr: Debian's libtorch hides type information that it would need.
    target_compile_options(${target} PUBLIC -fsanitize=${GANGLION_SANITIZE} -fno-sanitize=vptr -fno-omit-frame-pointer
      -Wno-maybe-uninitialized  # which the sanitizers' own code sets off
      # Asio's fences, which the thread sanitizer does not follow.
      $<$<CXX_COMPILER_ID:GNU>:-Wno-tsan>)
    target_link_options(${target} PUBLIC -fsanitize=${GANGLION_SANITIZE})
  endif()
endfunction()

function(ganglion_library layer)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  set(target ganglion_${layer})
  add_library(${target} STATIC ${ARG_SOURCES})
  add_library(ganglion::${layer} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${layer} POSITION_INDEPENDENT_CODE ON)
  target_include_directories(${target}
    PUBLIC $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>
    PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${target} PUBLIC ${ARG_LINK} PRIVATE ${ARG_PRIVATE_LINK})
  ganglion_compile_options(${target})
  if(GANGLION_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize-coverage=trace-pc,trace-cmp)
    target_link_libraries(${target} PUBLIC ganglion_coverage)
  endif()
endfunction()

if(GANGLION_FUZZ)
  add_library(ganglion_coverage STATIC ${PROJECT_SOURCE_DIR}/test/fuzz/coverage.cpp)
  target_link_libraries(ganglion_coverage PUBLIC ${GANGLION_LIBFUZZER})
  target_link_options(ganglion_coverage PUBLIC LINKER:--wrap=__sanitizer_cov_trace_pc)
endif()

# ganglion_program(<name> SOURCES ... LINK ...): a program that runs with OpenBLAS whatever the host's alternatives say.
function(ganglion_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK})
  ganglion_compile_options(${name})
  ganglion_use_openblas(${name})
endfunction()

function(ganglion_use_openblas target)
  if(GANGLION_OPENBLAS_DIR)
    target_link_options(${target} PRIVATE LINKER:--disable-new-dtags LINKER:-rpath,${GANGLION_OPENBLAS_DIR})
  endif()
endfunction()
