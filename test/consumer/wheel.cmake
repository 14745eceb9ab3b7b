# cmake -DBUILD=<build tree> -DSOURCE=<the project> -DTESTS=<this folder> -DPYTHON=<python> -P wheel.cmake
# What docs/how-to/python.md says: a venv with the system's packages, `pip install .` in it, and Python finds
# torch_neuron there and nowhere else. scikit-build-core comes from a package registry; where none has it, the test is
# skipped.
function(run)
  list(JOIN ARGN " " text)
  message(STATUS "${text}")
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status WORKING_DIRECTORY ${tree})
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "wheel: '${text}' ended with ${status}")
  endif()
endfunction()

set(tree ${BUILD}/consumer/wheel)
set(python ${tree}/venv/bin/python)
file(REMOVE_RECURSE ${tree}/venv)  # nothing of an earlier installation may help
file(MAKE_DIRECTORY ${tree})
run(${PYTHON} -m venv --system-site-packages ${tree}/venv)

execute_process(COMMAND ${python} -m pip download --quiet --dest ${tree}/download "scikit-build-core>=0.10"
  RESULT_VARIABLE status ERROR_VARIABLE said)
if(NOT status EQUAL 0)
  message(STATUS "SKIPPED: no package registry that pip reaches here has scikit-build-core, without which no wheel can "
    "be built; nothing was tested. pip said:\n${said}")
  return()
endif()

run(${python} -m pip install --quiet ${SOURCE}
  "--config-settings=build-dir=${tree}/build"
  "--config-settings=cmake.args=-C${BUILD}/consumer/settings.cmake"
  "--config-settings=cmake.define.CMAKE_PROJECT_ganglion_INCLUDE=${TESTS}/borrow_precompiled.cmake")
run(${CMAKE_COMMAND} -E env --unset=PYTHONPATH GANGLION_HOST_CORES=2 ${python} ${TESTS}/wheel_check.py ${tree}/venv)
run(${CMAKE_COMMAND} -E env --unset=PYTHONPATH GANGLION_HOST_CORES=2 ${python} -m torch_neuron.doctor)
