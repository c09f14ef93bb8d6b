#include <gtest/gtest.h>

#include "tandem_test.hpp"

int main(int argc, char** argv) {
  if (const auto status = tandem::test::HostProgram::run_if_asked()) return *status;
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
