# cmake -D BUILD= -D WORK= -D SOURCE= -D CONFIG= -D COMPILER= -P install.cmake
#
# Installs Tandem into a prefix of its own, then configures, builds and runs the outside projects of
# tests/install against it: one with tandem::runtime where oneTBB must not be needed, one with both.
file(REMOVE_RECURSE "${WORK}")

function(must)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said)
  if(NOT status EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "failed (${status}): ${command}\n${said}")
  endif()
endfunction()

must("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${WORK}/prefix")
foreach(project IN ITEMS runtime_only graph)
  set(build "${WORK}/${project}")
  set(no_tbb OFF)
  if(project STREQUAL runtime_only)
    set(no_tbb ON)
  endif()
  must("${CMAKE_COMMAND}" -S "${SOURCE}/${project}" -B "${build}" -G Ninja "-DCMAKE_PREFIX_PATH=${WORK}/prefix"
    "-DCMAKE_BUILD_TYPE=${CONFIG}" "-DCMAKE_CXX_COMPILER=${COMPILER}" -DCMAKE_DISABLE_FIND_PACKAGE_TBB=${no_tbb})
  must("${CMAKE_COMMAND}" --build "${build}")
  must("${build}/outside")
endforeach()
