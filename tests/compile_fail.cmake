# cmake -D COMPILER= -D INCLUDES= -D HEADER= -D SOURCE= -P compile_fail.cmake
#
# SOURCE must compile as it is, so that it fails for no other reason, and must not compile with
# TANDEM_EXPECT_FAIL defined. A line `// expect: REGEX` in it must match what the compiler then says.
# HEADER, a file to be made, stands for all of Tandem's: precompiled when SOURCE is not given, and included
# ahead of it otherwise, which saves most of the time.
set(ENV{LC_ALL} C)  # the words that `expect` waits for
list(TRANSFORM INCLUDES PREPEND -I OUTPUT_VARIABLE includes)
set(compile "${COMPILER}" -std=c++20 ${includes})

if(NOT SOURCE)
  file(WRITE "${HEADER}" "#include <tandem/tandem.hpp>\n")
  execute_process(COMMAND ${compile} -x c++-header "${HEADER}" -o "${HEADER}.gch" COMMAND_ERROR_IS_FATAL ANY)
  return()
endif()
list(APPEND compile -include "${HEADER}" -fsyntax-only)

execute_process(COMMAND ${compile} "${SOURCE}" RESULT_VARIABLE status ERROR_VARIABLE said)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${SOURCE} must compile without TANDEM_EXPECT_FAIL:\n${said}")
endif()

execute_process(COMMAND ${compile} -DTANDEM_EXPECT_FAIL "${SOURCE}" RESULT_VARIABLE status ERROR_VARIABLE said)
if(status EQUAL 0)
  message(FATAL_ERROR "${SOURCE} must not compile with TANDEM_EXPECT_FAIL, but does")
endif()
file(STRINGS "${SOURCE}" expected REGEX "^// expect: ")
foreach(line IN LISTS expected)
  string(REGEX REPLACE "^// expect: *" "" regex "${line}")
  if(NOT said MATCHES "${regex}")
    message(FATAL_ERROR "${SOURCE} fails to compile, but not with '${regex}':\n${said}")
  endif()
endforeach()
