# Only for the speed of our own tests, no user needs it: with the precompiled headers of the build that runs the tests
# (BORROW_PRECOMPILED_FROM), the compile commands are the same as there, and ccache has every object.
function(borrow_precompiled)
  foreach(target IN ITEMS ganglion_model_io ganglion_actors ganglion_python)
    if(NOT TARGET ${target})
      continue()
    endif()
    get_target_property(sources ${target} SOURCES)
    get_target_property(folder ${target} SOURCE_DIR)
    list(TRANSFORM sources PREPEND ${folder}/)
    file(RELATIVE_PATH where ${ganglion_SOURCE_DIR} ${folder})
    set(precompiled ${BORROW_PRECOMPILED_FROM}/${where}/CMakeFiles/${target}.dir/cmake_pch.hxx)
    set_source_files_properties(${sources} TARGET_DIRECTORY ${target} PROPERTIES
      COMPILE_OPTIONS "-Winvalid-pch;-include;${precompiled}" OBJECT_DEPENDS ${precompiled}.gch)
  endforeach()
endfunction()

# When all targets of the project that includes this are there.
if(BORROW_PRECOMPILED_FROM)
  cmake_language(DEFER CALL borrow_precompiled)
endif()
