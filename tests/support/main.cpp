#include <gtest/gtest.h>

#include <tandem/spawn.hpp>

#include "tandem_test.hpp"

int main(int argc, char** argv) {
  if (const auto status = tandem::test::HostProgram::run_if_asked()) return *status;
  testing::InitGoogleTest(&argc, argv);
  if (tandem::Spawned::here() != nullptr) {  // it runs the one test whose worker it is, up to the graph
    auto& listeners = testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
  }
  return RUN_ALL_TESTS();
}
