# How Tandem's own code is compiled. Nothing here reaches the users of the installed libraries.

if(PROJECT_IS_TOP_LEVEL)
  set_property(GLOBAL PROPERTY USE_FOLDERS ON)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
  endif()
  find_program(TANDEM_CCACHE ccache)
  if(TANDEM_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    # The sloppiness is what ccache needs to see through a precompiled header.
    set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime "${TANDEM_CCACHE}")
  endif()
endif()

set(TANDEM_SANITIZE_FLAGS "")
if(TANDEM_SANITIZE)
  set(TANDEM_SANITIZE_FLAGS "-fsanitize=${TANDEM_SANITIZE}" -fno-omit-frame-pointer)
  if(TANDEM_SANITIZE MATCHES undefined)
    # vptr: oneTBB's headers downcast a flow-graph task that they have just destroyed.
    list(APPEND TANDEM_SANITIZE_FLAGS -fno-sanitize-recover=all -fno-sanitize=vptr)
  endif()
  add_compile_options(${TANDEM_SANITIZE_FLAGS})
  add_link_options(${TANDEM_SANITIZE_FLAGS})
endif()

# tandem_own(TARGET): the language level and the warnings of everything in this repository.
function(tandem_own target)
  set_target_properties(${target} PROPERTIES
    CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON CXX_EXTENSIONS OFF)
  if(NOT TANDEM_DEVELOPER)
    return()
  endif()
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Woverloaded-virtual -Wold-style-cast
    -Wcast-align -Wcast-qual -Wextra-semi -Wimplicit-fallthrough -Wformat=2 -Wundef)
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(${target} PRIVATE -Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wsuggest-override)
    if(TANDEM_SANITIZE)
      # The instrumentation hides from GCC's flow analysis what it would need to know; and that
      # ThreadSanitizer does not model fences (-Wtsan) is no reason to do without one.
      target_compile_options(${target} PRIVATE
        -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overflow -Wno-null-dereference -Wno-tsan)
    endif()
  endif()
endfunction()

# tandem_precompile(TARGET HEADER... | REUSE_FROM TARGET): where tests are built, everything is, and most of a compiler's time is other people's
# headers. Elsewhere a header that is missing in a file is still found out.
function(tandem_precompile target)
  if(NOT TANDEM_TESTS)
    return()
  endif()
  if(ARGV1 STREQUAL REUSE_FROM)
    target_precompile_headers(${target} REUSE_FROM ${ARGV2})
  else()
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    target_compile_options(${target} PRIVATE -fpch-preprocess)  # for ccache
  endif()
endfunction()

# tandem_library(TARGET NAME): the library of this folder, tandem::NAME, from include/ and src/.
# A folder with headers alone gives an interface library. SCOPE is what its dependencies link with.
function(tandem_library target name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS src/*.cpp)
  file(GLOB headers CONFIGURE_DEPENDS include/tandem/*.hpp)
  if(sources)
    set(scope PUBLIC)
    add_library(${target} STATIC ${sources})
    target_include_directories(${target} PRIVATE src)
    tandem_own(${target})
  else()
    set(scope INTERFACE)
    add_library(${target} INTERFACE)
  endif()
  add_library(tandem::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_compile_features(${target} ${scope} cxx_std_20)
  target_sources(${target} PUBLIC FILE_SET HEADERS BASE_DIRS include FILES ${headers})
  set(SCOPE ${scope} PARENT_SCOPE)
endfunction()

# tandem_program(NAME SOURCE...): an example or benchmark, linked as a user would link it.
function(tandem_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE tandem::tandem fmt::fmt xxHash::xxhash CLI11::CLI11 stb::stb)
  tandem_own(${name})
  get_property(first DIRECTORY PROPERTY tandem_first_program)  # all of a folder share what it precompiles
  if(first)
    tandem_precompile(${name} REUSE_FROM ${first})
  else()
    set_property(DIRECTORY PROPERTY tandem_first_program ${name})
    tandem_precompile(${name} <Eigen/Core> <unsupported/Eigen/CXX11/Tensor> <oneapi/tbb/flow_graph.h>)
  endif()
endfunction()
