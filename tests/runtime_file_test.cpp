// Arrays in files: what is written is in the file, here and in workers, which map it too; and what becomes of files that are not
// what they should be.
// labels: no_tsan
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include <tandem/executor.hpp>

#include "support/shared.hpp"
#include "support/tandem_test.hpp"

namespace tandem::test {
namespace {

using testing::HasSubstr;

// A folder that goes with the test. A spawned worker has the same.
class Folder {
 public:
  Folder() {
    mine_ = name_->empty();
    if (mine_) {
      const std::string pattern = std::filesystem::temp_directory_path() / "tandem-file-XXXXXX";
      pattern.copy(name_->letters, sizeof name_->letters - 1);
      mkdtemp(name_->letters);
    }
    path_ = name_->letters;
  }
  ~Folder() {
    if (mine_) std::filesystem::remove_all(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return path_ / name; }

 private:
  struct Name {
    char letters[200] = {};
    bool empty() const { return letters[0] == '\0'; }
  };
  const Shared<Name> name_;
  std::filesystem::path path_;
  bool mine_ = false;
};

template <class T>
std::vector<T> contents(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  const std::string bytes{std::istreambuf_iterator<char>{file}, {}};
  std::vector<T> all(bytes.size() / sizeof(T));
  std::copy_n(bytes.data(), all.size() * sizeof(T), reinterpret_cast<char*>(all.data()));
  return all;
}
template <class T>
void write_file(const std::string& path, const std::vector<T>& all) {
  std::ofstream file{path, std::ios::binary};
  file.write(reinterpret_cast<const char*>(all.data()), static_cast<std::streamsize>(all.size() * sizeof(T)));
}

bool is_mapped(const std::string& path) {
  std::ifstream maps{"/proc/self/maps"};
  for (std::string line; std::getline(maps, line);) {
    if (line.ends_with(path)) return true;
  }
  return false;
}

class FileArrays : public TandemTest {
 protected:
  Folder folder_;
  Runtime runtime_{config_of({})};  // makes no memory for other arrays
};

TEST_F(FileArrays, AreMadeOfZerosAndKeepWhatIsWritten) {
  const std::string path = folder_ / "made";
  {
    auto made = runtime_.file_array<double>(path, {10, 100}, FileMode::create);
    EXPECT_TRUE(std::ranges::all_of(std::as_const(made), [](double value) { return value == 0; }));
    made.matrix()(9, 99) = 7;
    EXPECT_EQ(contents<double>(path).back(), 7);  // for whoever reads the file, at once
    made.sync();
    EXPECT_TRUE(is_mapped(path));
  }
  EXPECT_FALSE(is_mapped(path));
  EXPECT_EQ(contents<double>(path).size(), 1000U);
  const auto again = runtime_.file_array<const double>(path, {1000});
  EXPECT_EQ(again[999], 7);
}

TEST_F(FileArrays, OfAFileThatIsThereAreWhatItHolds) {
  const std::string path = folder_ / "there";
  write_file<std::int32_t>(path, {1, 2, 3, 4, 5, 6, 7});
  auto first = runtime_.file_array<std::int32_t>(path, {2, 3}, FileMode::update);
  EXPECT_EQ(first.matrix()(1, 2), 6);
  first[0] = -1;
  EXPECT_EQ(contents<std::int32_t>(path), (std::vector{-1, 2, 3, 4, 5, 6, 7}));  // no larger and no smaller
}

TEST_F(FileArrays, WriteASliceOutByItself) {
  const std::string path = folder_ / "made";
  auto made = runtime_.file_array<std::uint8_t>(path, {100'000}, FileMode::create);
  auto part = made.slice(5000, 70'001);
  std::ranges::fill(part, 9);
  part.sync();
  made.slice(3, 3).sync();
  const SharedArray<const std::uint8_t> reader = made;
  reader.sync();
  const auto all = contents<std::uint8_t>(path);
  EXPECT_EQ(std::ranges::count(all, 9), 65'001);
}

TEST_F(FileArrays, OfARelativePathAreFoundFromElsewhereToo) {
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder_ / "");
  auto made = runtime_.file_array<int>("relative", {3}, FileMode::create);
  std::filesystem::current_path(before);
  EXPECT_EQ(made.block()->file()->facts().path, folder_ / "relative");
}

TEST_F(FileArrays, ThatAreInMemoryHaveNothingToWriteOut) {
  Runtime runtime{config_of({})};
  const auto array = runtime.array<int>(Shape{3});
  EXPECT_THAT(thrown_text<Error>([&] { array.sync(); }), HasSubstr("no file is to be written"));
}

// ---- refused ----------------------------------------------------------------------------------------------------

class RefusedFiles : public FileArrays {
 protected:
  std::string refusal(const std::string& path, std::optional<FileMode> mode, const Shape& shape = Shape{10}) {
    return thrown_text<Error>([&] {
      if (mode) {
        static_cast<void>(runtime_.file_array<float>(path, shape, *mode));
      } else {
        static_cast<void>(runtime_.file_array<const float>(path, shape));
      }
    });
  }
};

TEST_F(RefusedFiles, ThatAreNotThere) {
  const std::string path = folder_ / "none";
  const std::string wanted =
      "file '" + path + "': there is none; correct the path, or make it with FileMode::create";
  EXPECT_EQ(refusal(path, std::nullopt), wanted);
  EXPECT_EQ(refusal(path, FileMode::update), wanted);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(RefusedFiles, ThatAreThereAndToBeMade) {
  const std::string path = folder_ / "there";
  write_file<float>(path, {1, 2, 3});
  EXPECT_EQ(refusal(path, FileMode::create),
            "file '" + path +
                "': there is one already, of 12 bytes; open it with FileMode::update, or remove it");
  EXPECT_EQ(contents<float>(path), (std::vector<float>{1, 2, 3}));
}

TEST_F(RefusedFiles, ThatAreTooSmall) {
  const std::string path = folder_ / "small";
  write_file<float>(path, std::vector<float>(9));
  EXPECT_EQ(refusal(path, FileMode::update, Shape{2, 5}),
            "file '" + path +
                "': has 36 bytes, but float32 with shape (2, 5) needs 40 bytes; make the array smaller, or the "
                "file larger");
}

TEST_F(RefusedFiles, ThatAreNone) {
  const std::string pipe = folder_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(refusal(pipe, std::nullopt), "file '" + pipe + "': is a pipe; wanted a regular file");
  EXPECT_EQ(refusal("/dev/null", FileMode::update), "file '/dev/null': is a device; wanted a regular file");
  const std::string folder = std::filesystem::path{folder_ / "x"}.parent_path();
  EXPECT_EQ(refusal(folder, std::nullopt), "file '" + folder + "': is a directory; wanted a regular file");
  EXPECT_EQ(refusal(folder, FileMode::update), "file '" + folder + "': is a directory; wanted a regular file");
}

TEST_F(RefusedFiles, ThatThisProcessMayNotOpen) {
  const std::string path = folder_ / "locked";
  write_file<float>(path, std::vector<float>(10));
  ASSERT_EQ(chmod(path.c_str(), 0400), 0);
  if (access(path.c_str(), W_OK) == 0) GTEST_SKIP() << "root may open anything";
  EXPECT_THAT(refusal(path, FileMode::update), HasSubstr("no permission to write it"));
  EXPECT_EQ(refusal(path, std::nullopt), "nothing was thrown");
}

TEST_F(RefusedFiles, ForWhichThereIsNoRoom) {
  const std::string path = folder_ / "huge";
  EXPECT_THAT(refusal(path, FileMode::create, Shape{std::size_t{1} << 58}),
              HasSubstr("file '" + path + "': the system has no room for 1152921504606846976 bytes (1 EiB)"));
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST_F(RefusedFiles, OfShapesWithoutElements) {
  EXPECT_THAT(refusal(folder_ / "empty", FileMode::create, Shape{0, 3}),
              HasSubstr("an array with shape (0, 3) has no elements"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "empty"));
}

// ---- in workers --------------------------------------------------------------------------------------------------

void fill(SharedArray<int> numbers, int first) {
  std::iota(numbers.begin(), numbers.end(), first);
  numbers.sync();
}
int sum(SharedArray<const int> numbers) { return std::accumulate(numbers.begin(), numbers.end(), 0); }
int add(const SharedArray<int>& numbers) { return std::accumulate(numbers.begin(), numbers.end(), 0); }
SharedArray<int> second_half(SharedArray<int> numbers) { return numbers.slice(500, 1000); }

class FilesInWorkers : public PlacedTest {
 protected:
  Folder folder_;
};
TANDEM_FOR_ALL_PLACES_AND_SPAWNED(FilesInWorkers);

TEST_P(FilesInWorkers, AreReadAndWrittenWithoutACopy) {
  Runtime runtime{placed(GetParam(), {"calls"})};
  Executor calls{runtime, "calls"};
  const std::string path = folder_ / "before";
  auto numbers = runtime.file_array<int>(path, {1000}, FileMode::create);  // before the workers are started
  for (std::size_t first = 0; first < 1000; first += 100)
    calls.submit(fill, numbers.slice(first, first + 100), static_cast<int>(first)).get();
  EXPECT_EQ(contents<int>(path)[999], 999);
  EXPECT_EQ(calls.submit(sum, numbers).get(), 499'500);
  EXPECT_EQ(calls.submit(add, numbers).get(), 499'500);

  auto later = runtime.file_array<int>(folder_ / "after", {1000}, FileMode::create);
  calls.submit(fill, later, 1).get();
  EXPECT_EQ(std::as_const(later)[999], 1000);
  EXPECT_EQ(calls.submit(sum, runtime.file_array<const int>(folder_ / "after", {10})).get(), 55);

  SharedArray<int> back = calls.submit(second_half, numbers).get();
  EXPECT_EQ(back.size(), 500U);
  EXPECT_EQ(back.data(), numbers.data() + 500);  // the same memory
}

TEST_P(FilesInWorkers, AreManyAtATime) {
  Runtime runtime{placed(GetParam(), {"calls"})};
  Executor calls{runtime, "calls"};
  std::vector<SharedArray<int>> all;
  for (int number = 0; number < 40; ++number)
    all.push_back(runtime.file_array<int>(folder_ / std::to_string(number), {100}, FileMode::create));
  for (int times = 0; times < 2; ++times) {
    std::vector<Future<void>> made;
    for (std::size_t number = 0; number < all.size(); ++number)
      made.push_back(calls.submit(fill, all[number], static_cast<int>(number) + times));
    for (auto& one : made) one.get();
    auto last = calls.submit(
        [](const std::vector<SharedArray<const int>>& arrays) {
          int total = 0;
          for (const auto& array : arrays) total += array[0];
          return total;
        },
        std::vector<SharedArray<const int>>{all.begin(), all.end()});
    EXPECT_EQ(last.get(), 780 + 40 * times);
  }
}

TEST_P(FilesInWorkers, AreReadOnlyToWhoIsLentThemSo) {
  if (!GetParam().is_process()) return;
  Runtime runtime{placed(GetParam(), {"calls"}, {{"node.calls.attempts", "1"}})};
  Executor calls{runtime, "calls"};
  auto numbers = runtime.file_array<int>(folder_ / "made", {1000}, FileMode::create);
  calls.submit(fill, numbers, 1).get();
  for (int times = 0; times < 2; ++times) {
    auto stray =
        calls.submit([](const SharedArray<int>& given) { *const_cast<int*>(given.data()) = 5; }, numbers);
    EXPECT_THAT(thrown_text<ProducerError>([&] { stray.get(); }), HasSubstr("SIGSEGV"));
  }
  EXPECT_EQ(std::as_const(numbers)[0], 1);
}

TEST_P(FilesInWorkers, ThatSomebodyHasReplacedAreAnError) {
  if (!GetParam().is_process()) return;
  Runtime runtime{placed(GetParam(), {"calls"})};
  Executor calls{runtime, "calls"};
  const std::string path = folder_ / "made";
  calls.submit(std::plus<int>{}, 1, 2).get();  // a spawned worker's main does not come further
  auto numbers = runtime.file_array<int>(path, {100'000}, FileMode::create);
  std::filesystem::rename(path, folder_ / "other");
  EXPECT_THAT(thrown_text<ProducerError>([&] { calls.submit(sum, numbers).get(); }),
              HasSubstr("file '" + path + "': there is none"));
  write_file<int>(path, std::vector<int>(100'000));
  EXPECT_THAT(thrown_text<ProducerError>([&] { calls.submit(sum, numbers).get(); }),
              HasSubstr("file '" + path + "': another file stands in its place"));
  std::filesystem::rename(folder_ / "other", path);
  EXPECT_EQ(calls.submit(sum, numbers).get(), 0);
  ASSERT_EQ(truncate(path.c_str(), 100), 0);
  // Each worker that has not opened it yet; one that has, ends by SIGBUS.
  EXPECT_THAT(thrown_text<ProducerError>([&] { calls.submit(sum, numbers).get(); }),
              testing::AnyOf(HasSubstr("was made smaller: it has 100 bytes, and its array needs 400000 bytes"),
                             HasSubstr("SIGBUS")));
}

// What a function is given in no other way: a worker has it as the host had it when the worker was started.
TEST_P(FilesInWorkers, ThatWorkersInheritCanBeReadAndWritten) {
  if (GetParam().is_spawned()) return;
  Runtime runtime{placed(GetParam(), {"calls"})};
  static SharedArray<int> inherited;
  inherited = runtime.file_array<int>(folder_ / "made", {1000}, FileMode::create);
  inherited[0] = 3;
  Executor calls{runtime, "calls"};
  EXPECT_EQ(calls.submit([] { return std::as_const(inherited)[0]; }).get(), 3);
  calls.submit([] { inherited[1] = 4; }).get();
  EXPECT_EQ(inherited[1], 4);
  calls.shutdown();
  runtime.stop();
  inherited = {};
}

}  // namespace
}  // namespace tandem::test
