# cmake -DKIND=installed|subdirectory -DBUILD=<build tree> -DSOURCE=<this folder> -P consume.cmake
# Configures, builds and runs a project that uses Ganglion. Its build tree is kept, so that a second run takes seconds.
function(run)
  list(JOIN ARGN " " text)
  message(STATUS "${text}")
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${KIND} consumer: '${text}' ended with ${status}")
  endif()
endfunction()

set(tree ${BUILD}/consumer/${KIND})
if(KIND STREQUAL installed)
  set(prefix ${BUILD}/consumer/prefix)
  file(REMOVE_RECURSE ${prefix})  # nothing of an earlier installation may help
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
  set(where -DCMAKE_PREFIX_PATH=${prefix})
endif()
run(${CMAKE_COMMAND} -S ${SOURCE}/${KIND} -B ${tree} -G Ninja -C ${BUILD}/consumer/settings.cmake ${where})
run(${CMAKE_COMMAND} --build ${tree})
run(${tree}/consumer)
