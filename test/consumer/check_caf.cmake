# cmake -DCOMPILER=<c++> -DFOLDER=<of the two sources> -DINCLUDES=<folders> -P check_caf.cmake
# Asks the compiler for every header that a source leads to, and fails where one of CAF's is among those of
# without_caf.cpp, or none among those of with_caf.cpp.
list(TRANSFORM INCLUDES PREPEND -I)

function(find_caf source result)
  execute_process(COMMAND ${COMPILER} -std=gnu++20 -M ${INCLUDES} ${FOLDER}/${source}
    OUTPUT_VARIABLE rule COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCH "[^ ]*/caf/[^ ]*" found "${rule}")
  set(${result} "${found}" PARENT_SCOPE)
endfunction()

find_caf(without_caf.cpp leaked)
if(leaked)
  message(FATAL_ERROR "a header of model_io or engine leads to ${leaked}: keep CAF out of the embedding face")
endif()
find_caf(with_caf.cpp expected)
if(NOT expected)
  message(FATAL_ERROR "no header of the actors leads to CAF: this check looks for the wrong path")
endif()
