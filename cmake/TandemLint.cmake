# Targets format (rewrites the files), format_check and lint (clang-tidy); none is part of a build.
# One version of clang-format only: each lays out some lines differently.
set(TANDEM_FORMAT_SCRIPT "${PROJECT_SOURCE_DIR}/cmake/format.sh")
find_program(TANDEM_CLANG_FORMAT clang-format-16)
if(TANDEM_CLANG_FORMAT)
  add_custom_target(format COMMAND "${TANDEM_FORMAT_SCRIPT}" "${TANDEM_CLANG_FORMAT}" -i USES_TERMINAL)
  add_custom_target(format_check
    COMMAND "${TANDEM_FORMAT_SCRIPT}" "${TANDEM_CLANG_FORMAT}" --dry-run --Werror --ferror-limit=1 USES_TERMINAL)
  if(TANDEM_TESTS)
    add_test(NAME format COMMAND "${TANDEM_FORMAT_SCRIPT}" "${TANDEM_CLANG_FORMAT}" --dry-run --Werror --ferror-limit=1)
    set_tests_properties(format PROPERTIES LABELS house)
  endif()
endif()

find_program(TANDEM_CLANG_TIDY NAMES clang-tidy-14 clang-tidy)
if(TANDEM_CLANG_TIDY)
  file(GLOB tandem_sources CONFIGURE_DEPENDS runtime/src/*.cpp graph/src/*.cpp)
  # Its own warnings set: the compile commands hold GCC's, some of which clang does not know.
  add_custom_target(lint COMMAND "${TANDEM_CLANG_TIDY}" --quiet -p "${PROJECT_BINARY_DIR}"
    --extra-arg=-Wno-unknown-warning-option ${tandem_sources} USES_TERMINAL)
endif()
