// A host that has begun to use MPI, and workers that are spawned: fresh processes, which are no ranks of the host's. Where the
// program is built without MPI, nothing is tested.
// labels: no_asan no_tsan
#include <cstdint>

#ifdef TANDEM_TEST_MPI
#include <mpi.h>
#endif

#include "support/line.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

class SpawnedWorker : public TandemTest {
  void TearDown() override {}  // what MPI leaves open is MPI's business
};

#ifdef TANDEM_TEST_MPI
TEST_F(SpawnedWorker, ServesAHostThatUsesMpi) {
  Runtime runtime{placed({"spawn", 2}, {"work"})};
  int sum = 0;
  if (!runtime.is_worker()) {
    int level = 0;
    ASSERT_EQ(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &level), MPI_SUCCESS);
  }
  flow::graph graph;
  commander_node<Number> numbers{graph, runtime, "numbers", CountTo{60}};
  producer_node<Number, Number> work{graph, runtime, "work", [](const Number& in) {
                                       int begun = 0;
                                       MPI_Initialized(&begun);
                                       return Number{in.value + (begun == 0 ? 0U : 1'000'000U)};
                                     }};
  sequencer_node<Number> order{graph, runtime};
  stream_node<Number> stream{graph, runtime};
  flow::make_edge(numbers, work);
  flow::make_edge(work, order);
  flow::make_edge(order, stream);

  for (const auto& item : stream) {
    EXPECT_EQ(item->value, item.sequence());
    const int number = static_cast<int>(item->value);
    int all = 0;
    MPI_Allreduce(&number, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);  // goes on beside them
    sum += all;
  }
  EXPECT_EQ(sum, 60 * 59 / 2);
  runtime.stop();
  MPI_Finalize();
}
#else
TEST_F(SpawnedWorker, ServesAHostThatUsesMpi) { GTEST_SKIP() << "built without MPI"; }
#endif

}  // namespace
}  // namespace tandem::test
