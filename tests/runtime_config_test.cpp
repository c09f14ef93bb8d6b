#include <tandem/config.hpp>
#include <tandem/error.hpp>

#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

namespace tandem {
namespace {

using namespace std::chrono_literals;

// The text of the ConfigError that the call throws.
template <class Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const ConfigError& error) { return error.what(); }
  return "(nothing was thrown)";
}

std::string parse_refusal(std::string_view toml) {
  return refusal([&] { static_cast<void>(Config::parse(toml)); });
}

std::string set_refusal(std::string_view key, std::string_view value) {
  return refusal([&] { Config{}.set(key, value, "test"); });
}

// A command line as main() gets it: writable, and with a null pointer after the last argument.
class CommandLine {
 public:
  explicit CommandLine(std::vector<std::string> arguments) : arguments_{std::move(arguments)} {
    for (std::string& argument : arguments_) argv_.push_back(argument.data());
    argv_.push_back(nullptr);
    argc_ = static_cast<int>(arguments_.size());
  }

  Config load() { return Config::load(argc_, argv_.data()); }

  [[nodiscard]] std::vector<std::string> left() const {
    EXPECT_EQ(argv_[static_cast<std::size_t>(argc_)], nullptr);
    return {argv_.begin(), argv_.begin() + argc_};
  }

 private:
  std::vector<std::string> arguments_;
  std::vector<char*> argv_;
  int argc_ = 0;
};

// An empty folder to work in, and an environment without TANDEM_*; both are put back.
class Sources : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "tandem-config-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    previous_ = std::filesystem::current_path();
    std::filesystem::current_path(folder_);
    std::vector<std::string> names;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string text{*entry};
      if (text.starts_with("TANDEM_")) names.push_back(text.substr(0, text.find('=')));
    }
    for (const std::string& name : names) {
      removed_.emplace_back(name, std::getenv(name.c_str()));
      unsetenv(name.c_str());
    }
  }

  void TearDown() override {
    for (const std::string& name : added_) unsetenv(name.c_str());
    for (const auto& [name, value] : removed_) setenv(name.c_str(), value.c_str(), 1);
    std::filesystem::current_path(previous_);
    std::filesystem::remove_all(folder_);
  }

  void variable(const std::string& name, const std::string& value) {
    added_.push_back(name);
    setenv(name.c_str(), value.c_str(), 1);
  }

  static void file(const std::string& name, const std::string& text) { std::ofstream{name} << text; }

 private:
  std::filesystem::path folder_;
  std::filesystem::path previous_;
  std::vector<std::string> added_;
  std::vector<std::pair<std::string, std::string>> removed_;
};

TEST(Config, HasDefaultsWithoutAnySource) {
  const Config config;
  EXPECT_TRUE(config.deterministic);
  EXPECT_EQ(config.in_flight, std::nullopt);
  EXPECT_EQ(config.memory, std::nullopt);
  EXPECT_EQ(config.seed, 0U);
  EXPECT_EQ(config.grace, 5ms);
  EXPECT_EQ(config.hold_timeout, 10s);
  EXPECT_EQ(config.node("reader"), NodeConfig{});
}

TEST(Config, ReadsTheFileOfTheDesign) {
  const Config config = Config::parse(R"(
    [tandem]
    deterministic = false
    in_flight     = 64
    memory        = "2 GiB"
    seed          = 42
    grace         = "20 ms"
    hold_timeout  = "1 min"

    [node.reader]
    placement = "process"
    workers   = 4
    start     = "fork"
    attempts  = 5
    deadline  = "10 s"
    on_error  = "skip"
    max_errors = 20
  )");
  EXPECT_FALSE(config.deterministic);
  EXPECT_EQ(config.in_flight, 64U);
  EXPECT_EQ(config.memory, std::size_t{2} << 30);
  EXPECT_EQ(config.seed, 42U);
  EXPECT_EQ(config.grace, 20ms);
  EXPECT_EQ(config.hold_timeout, 60s);
  EXPECT_EQ(config.node("reader"), (NodeConfig{.placement = Placement::process,
                                               .workers = 4,
                                               .attempts = 5,
                                               .deadline = 10s,
                                               .on_error = OnError::skips,
                                               .max_errors = 20}));
  EXPECT_EQ(config.node("writer"), NodeConfig{});
}

TEST(Config, TakesNumbersAndTruthValuesAsStrings) {
  const Config config = Config::parse(
      "[tandem]\nin_flight = \" 64 \"\nseed = \"18446744073709551615\"\ndeterministic = \"false\"\n"
      "memory = 4096\n[node.\"two words.x\"]\nworkers = \"8\"\n");
  EXPECT_EQ(config.in_flight, 64U);
  EXPECT_EQ(config.seed, std::numeric_limits<std::uint64_t>::max());
  EXPECT_FALSE(config.deterministic);
  EXPECT_EQ(config.memory, 4096U);
  EXPECT_EQ(config.node("two words.x").workers, 8);
}

TEST(Config, AcceptsAnEmptyFile) { EXPECT_TRUE(Config::parse("").deterministic); }

TEST(Config, NamesLineAndColumnWhenTheFileIsNotToml) {
  const std::string text = parse_refusal("[tandem]\nseed = 1\nmemory = \n");
  EXPECT_TRUE(text.starts_with("tandem.toml:3:10: not valid TOML: ")) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos);
}

TEST(Config, NamesTheNearestKeyWhenAKeyIsUnknown) {
  EXPECT_EQ(parse_refusal("[tandem]\n\nin_fligth = 64\n"),
            "in_fligth = 64 (tandem.toml:3): no such key; did you mean 'in_flight'? known keys: "
            "'deterministic', 'in_flight', 'memory', 'arrays', 'seed', 'grace', 'hold_timeout'");
  EXPECT_EQ(parse_refusal("[node.reader]\ncolour = \"red\"\n"),
            "node.reader.colour = \"red\" (tandem.toml:2): no such key; known keys: "
            "'placement', 'workers', 'start', 'attempts', 'deadline', 'on_error', 'max_errors', "
            "'spares', 'worker_memory', 'wait_for_debugger', 'full', 'start_within'");
  EXPECT_EQ(parse_refusal("[node.reader]\nworker = 4\n"),
            "node.reader.worker = 4 (tandem.toml:2): no such key; did you mean 'workers'? known keys: "
            "'placement', 'workers', 'start', 'attempts', 'deadline', 'on_error', 'max_errors', "
            "'spares', 'worker_memory', 'wait_for_debugger', 'full', 'start_within'");
}

TEST(Config, NamesTheNearestTableWhenATableIsUnknown) {
  EXPECT_EQ(parse_refusal("[tandm]\nseed = 1\n"),
            "[tandm] (tandem.toml:1): no such table; did you mean 'tandem'? known tables: 'tandem', 'node'");
  EXPECT_EQ(parse_refusal("\nseed = 1\n"), "seed (tandem.toml:2): outside of any table; put it below [tandem]");
  EXPECT_EQ(parse_refusal("tandem = 3\n"),
            "tandem (tandem.toml:1): wanted a table; write [tandem] and its settings below");
  EXPECT_EQ(parse_refusal("[node]\nreader = 3\n"),
            "node.reader (tandem.toml:2): wanted a table; write [node.reader] and its settings below");
  EXPECT_EQ(parse_refusal("[[node]]\n"),
            "node.NAME (tandem.toml:1): wanted a table; write [node.NAME] and its settings below");
}

TEST(Config, RefusesValuesOfTheWrongType) {
  EXPECT_EQ(
      parse_refusal("[tandem]\nmemory = true\n"),
      "memory = true (tandem.toml:2): not a size; write a number and a unit, such as \"2 GiB\" or \"512 MiB\"");
  EXPECT_EQ(parse_refusal("[tandem]\nin_flight = 4.0\n"),
            "in_flight = 4.0 (tandem.toml:2): not a whole number; write a whole number from 1 to 1000000");
  EXPECT_EQ(parse_refusal("[tandem]\ndeterministic = 1\n"),
            "deterministic = 1 (tandem.toml:2): not a truth value; write true or false");
  EXPECT_EQ(parse_refusal("[node.reader]\nworkers = [1, 2]\n"),
            "node.reader.workers (tandem.toml:2): found a list, wanted a single value");
  EXPECT_EQ(parse_refusal("[tandem.seed]\nx = 1\n"),
            "seed (tandem.toml:1): found a table, wanted a single value");
  EXPECT_EQ(parse_refusal("[tandem]\ngrace = 00:00:10\n"),
            "grace = \"00:00:10\" (tandem.toml:2): not a span of time; write a number and a unit, such as "
            "\"10 s\" or \"250 ms\"");
}

struct BadValue {
  const char* key;
  const char* value;
  const char* text;
};

class BadValues : public testing::TestWithParam<BadValue> {};

TEST_P(BadValues, AreRefusedInOneLineThatSaysWhatIsWanted) {
  EXPECT_EQ(set_refusal(GetParam().key, GetParam().value), GetParam().text);
}

constexpr BadValue kBadValues[] = {
    {"memory", "lots",
     "memory = \"lots\" (test): not a size; write a number and a unit, such as \"2 GiB\" or \"512 MiB\""},
    {"memory", "",
     "memory = \"\" (test): not a size; write a number and a unit, such as \"2 GiB\" or \"512 MiB\""},
    {"memory", "-1",
     "memory = -1 (test): not a size; write a number and a unit, such as \"2 GiB\" or \"512 MiB\""},
    {"memory", "0 GiB",
     "memory = \"0 GiB\" (test): must be more than 0; leave it out to let the machine decide"},
    {"memory", "2 EiB",
     "memory = \"2 EiB\" (test): not a size; write a number and a unit, such as \"2 GiB\" or \"512 MiB\""},
    {"memory", "2000 PiB", "memory = \"2000 PiB\" (test): must be at most 1 EiB; write a smaller size"},
    {"memory", "99999999999999999999",
     "memory = 99999999999999999999 (test): must be at most 1 EiB; write a smaller size"},
    {"in_flight", "0", "in_flight = 0 (test): must be at least 1; write a whole number from 1 to 1000000"},
    {"in_flight", "1000001",
     "in_flight = 1000001 (test): must be at most 1000000; write a whole number from 1 to 1000000"},
    {"in_flight", "99999999999999999999",
     "in_flight = 99999999999999999999 (test): must be at most 1000000; write a whole number from 1 to "
     "1000000"},
    {"in_flight", "a\nb",
     "in_flight = \"a\\x0ab\" (test): not a whole number; write a whole number from 1 to 1000000"},
    {"seed", "-1", "seed = -1 (test): must be at least 0; write a whole number from 0 to 18446744073709551615"},
    {"deterministic", "yes", "deterministic = \"yes\" (test): not a truth value; write true or false"},
    {"grace", "5",
     "grace = 5 (test): not a span of time; write a number and a unit, such as \"10 s\" or \"250 ms\""},
    {"hold_timeout", "9000 h", "hold_timeout = \"9000 h\" (test): must be at most 8760 h; write a shorter one"},
    {"node.reader.workers", "0",
     "node.reader.workers = 0 (test): must be at least 1; write a whole number from 1 to 1024"},
    {"node.reader.workers", "-4",
     "node.reader.workers = -4 (test): must be at least 1; write a whole number from 1 to 1024"},
    {"node.reader.workers", "1025",
     "node.reader.workers = 1025 (test): must be at most 1024; write a whole number from 1 to 1024"},
    {"node.reader.workers", "four",
     "node.reader.workers = \"four\" (test): not a whole number; write a whole number from 1 to 1024"},
    {"node.reader.attempts", "0",
     "node.reader.attempts = 0 (test): must be at least 1; write a whole number from 1 to 100"},
    {"node.reader.attempts", "101",
     "node.reader.attempts = 101 (test): must be at most 100; write a whole number from 1 to 100"},
    {"node.reader.placement", "gpu",
     "node.reader.placement = \"gpu\" (test): not a placement; write \"thread\" or \"process\""},
    {"node.reader.start", "exec",
     "node.reader.start = \"exec\" (test): not a way to start workers; write \"fork\" or \"spawn\""},
    {"node.reader.start_within", "0 s", "node.reader.start_within = \"0 s\" (test): must be more than 0"},
    {"node.reader.deadline", "0 s",
     "node.reader.deadline = \"0 s\" (test): must be more than 0; leave it out for no deadline"},
    {"node.reader.on_error", "ignore",
     "node.reader.on_error = \"ignore\" (test): nothing that can be done about an error; write \"throw\", "
     "\"skip\" or \"deliver\""},
    {"node.reader.max_errors", "-1",
     "node.reader.max_errors = -1 (test): must be at least 0; write a whole number from 0 to 1000000000"},
    {"node.reader.max_errors", "1000000001",
     "node.reader.max_errors = 1000000001 (test): must be at most 1000000000; write a whole number from 0 to "
     "1000000000"},
    {"node.reader", "4",
     "node.reader = 4 (test): no key of a node; write node.NAME.KEY; known keys: 'placement', 'workers', "
     "'start', 'attempts', 'deadline', 'on_error', 'max_errors', "
     "'spares', 'worker_memory', 'wait_for_debugger', 'full', 'start_within'"},
    {"node..workers", "4", "node..workers = 4 (test): the node has no name; write node.NAME.KEY"},
    {"nodes.reader.workers", "4",
     "nodes.reader.workers = 4 (test): no such key; known keys: 'deterministic', 'in_flight', 'memory', "
     "'arrays', 'seed', 'grace', 'hold_timeout'; a node's are written node.NAME.KEY"},
};
INSTANTIATE_TEST_SUITE_P(Config, BadValues, testing::ValuesIn(kBadValues));

TEST(Config, ReadsHowAWorkerStarts) {
  Config config;
  config.set("node.reader.start", "spawn", "test");
  config.set("node.reader.start_within", "5 s", "test");
  EXPECT_EQ(config.node("reader"), (NodeConfig{.start = Start::spawn, .start_within = 5s}));
}

TEST(Config, StaysAsItWasWhenASettingIsRefused) {
  Config config;
  config.set("in_flight", "64", "test");
  config.set("node.reader.workers", "4", "test");
  EXPECT_THROW(config.set("in_flight", "0", "test"), ConfigError);
  EXPECT_THROW(config.set("node.reader.workers", "0", "test"), ConfigError);
  EXPECT_EQ(config.in_flight, 64U);
  EXPECT_EQ(config.node("reader").workers, 4);
}

TEST(Config, TakesTheLaterOfTwoSettings) {
  Config config;
  config.set("node.reader.workers", "4", "first");
  config.set("node.reader.attempts", "7", "first");
  config.set("node.reader.workers", "2", "second");
  EXPECT_EQ(config.node("reader").workers, 2);
  EXPECT_EQ(config.node("reader").attempts, 7);
}

TEST(Config, NamesSourceAndNearestNodeWhenANodeDoesNotExist) {
  const std::vector<std::string> nodes{"sampler", "reader"};
  const Config config = Config::parse("[node.sampler]\nworkers = 1\n[node.raeder]\nworkers = 4\n");
  EXPECT_EQ(
      refusal([&] { config.check_node_names(nodes); }),
      "node.raeder (tandem.toml:4): no node has this name; did you mean 'reader'? nodes: 'sampler', 'reader'");
  EXPECT_EQ(refusal([&] { config.check_node_names({}); }),
            "node.raeder (tandem.toml:4): no node has this name; nodes: none");
}

TEST(Config, NamesANodeThatDoesNotExistWhenItsTableIsEmpty) {
  const std::vector<std::string> nodes{"reader"};
  EXPECT_EQ(refusal([&] { Config::parse("[node.writer]\n").check_node_names(nodes); }),
            "node.writer (tandem.toml:1): no node has this name; nodes: 'reader'");
  EXPECT_NO_THROW(Config::parse("[node.reader]\n").check_node_names(nodes));
}

TEST(Config, RefusesSkipWithoutMaxErrorsAndNamesTheSource) {
  const std::vector<std::string> nodes{"sampler", "reader"};
  Config config = Config::parse("[node.sampler]\non_error = \"deliver\"\n[node.reader]\non_error = \"skip\"\n");
  EXPECT_EQ(
      refusal([&] { config.check_error_budgets(nodes); }),
      "node.reader.on_error = \"skip\" (tandem.toml:4): without a bound; write max_errors too, the number of "
      "items that may be skipped before that is an error, for instance max_errors = 100");
  config.set("node.reader.max_errors", "0", "test");
  EXPECT_NO_THROW(config.check_error_budgets(nodes));
}

TEST(Config, TakesMaxErrorsWithoutSkipSoThatOneSettingTurnsItOn) {
  const std::vector<std::string> nodes{"reader"};
  const Config config = Config::parse("[node.reader]\nmax_errors = 1000000000\n");
  EXPECT_NO_THROW(config.check_error_budgets(nodes));
  EXPECT_EQ(config.node("reader").on_error, OnError::throws);
  EXPECT_EQ(config.node("reader").max_errors, 1'000'000'000U);
}

TEST_F(Sources, GiveDefaultsWhenThereAreNone) {
  const Config config = Config::load();
  EXPECT_EQ(config.in_flight, std::nullopt);
  EXPECT_EQ(config.node("reader"), NodeConfig{});
}

TEST_F(Sources, LayerFileThenEnvironmentThenCommandLine) {
  file("tandem.toml",
       "[tandem]\nseed = 1\nin_flight = 1\nmemory = 1\n[node.reader]\nworkers = 1\nattempts = 1\ndeadline = "
       "\"1 s\"\n");
  variable("TANDEM_IN_FLIGHT", "2");
  variable("TANDEM_MEMORY", "2");
  variable("TANDEM_NODE_READER_ATTEMPTS", "2");
  variable("TANDEM_NODE_READER_DEADLINE", "2 s");
  CommandLine line{{"program", "--tandem.memory=3", "--tandem.node.reader.deadline=3 s"}};

  const Config config = line.load();

  EXPECT_EQ(std::tuple(config.seed, config.in_flight, config.memory), std::tuple(1U, 2U, 3U));
  EXPECT_EQ(config.node("reader"), (NodeConfig{.attempts = 2, .deadline = 3s}));
}

TEST_F(Sources, LeaveOtherArgumentsInPlace) {
  CommandLine line{{"--tandem.seed=9", "image.jpg", "--tandem.seed=1", "--tandem", "-v", "--tandem.seed=2",
                    "--", "--tandem.seed=3"}};
  EXPECT_EQ(line.load().seed, 2U);
  EXPECT_EQ(line.left(), (std::vector<std::string>{"--tandem.seed=9", "image.jpg", "--tandem", "-v", "--",
                                                   "--tandem.seed=3"}));
}

TEST_F(Sources, NameTheArgumentWhenItIsWrong) {
  EXPECT_EQ(refusal([] {
              CommandLine{{"program", "--tandem.in_fligth=3"}}.load();
            }),
            "in_fligth = 3 (argument --tandem.in_fligth): no such key; did you mean 'in_flight'? known keys: "
            "'deterministic', 'in_flight', 'memory', 'arrays', 'seed', 'grace', 'hold_timeout'");
  EXPECT_EQ(refusal([] {
              CommandLine{{"program", "--tandem.seed"}}.load();
            }),
            "argument --tandem.seed: no value; write --tandem.KEY=VALUE");
}

TEST_F(Sources, NameTheVariableWhenItsValueIsWrong) {
  variable("TANDEM_NODE_READER_WORKERS", "0");
  EXPECT_EQ(refusal([] { static_cast<void>(Config::load()); }),
            "node.READER.workers = 0 (environment variable TANDEM_NODE_READER_WORKERS): must be at least 1; "
            "write a whole number from 1 to 1024");
}

TEST_F(Sources, NameTheNearestVariableWhenAVariableIsUnknown) {
  variable("TANDEM_IN_FLIHGT", "3");
  EXPECT_EQ(
      refusal([] { static_cast<void>(Config::load()); }),
      "TANDEM_IN_FLIHGT = 3 (environment): no such setting; did you mean 'TANDEM_IN_FLIGHT'? known variables: "
      "'TANDEM_DETERMINISTIC', 'TANDEM_IN_FLIGHT', 'TANDEM_MEMORY', 'TANDEM_ARRAYS', 'TANDEM_SEED', "
      "'TANDEM_GRACE', "
      "'TANDEM_HOLD_TIMEOUT', 'TANDEM_CONFIG', 'TANDEM_NODE_NAME_PLACEMENT', 'TANDEM_NODE_NAME_WORKERS', "
      "'TANDEM_NODE_NAME_START', 'TANDEM_NODE_NAME_ATTEMPTS', 'TANDEM_NODE_NAME_DEADLINE', "
      "'TANDEM_NODE_NAME_ON_ERROR', 'TANDEM_NODE_NAME_MAX_ERRORS', 'TANDEM_NODE_NAME_SPARES', "
      "'TANDEM_NODE_NAME_WORKER_MEMORY', 'TANDEM_NODE_NAME_WAIT_FOR_DEBUGGER', 'TANDEM_NODE_NAME_FULL', "
      "'TANDEM_NODE_NAME_START_WITHIN'");
}

TEST_F(Sources, NameTheNearestVariableOfTheSameNodeWhenItsKeyIsUnknown) {
  variable("TANDEM_NODE_READER_WORKER", "3");
  const std::string text = refusal([] { static_cast<void>(Config::load()); });
  EXPECT_TRUE(
      text.starts_with("TANDEM_NODE_READER_WORKER = 3 (environment): no such setting; did you mean "
                       "'TANDEM_NODE_READER_WORKERS'? known variables: "))
      << text;
}

TEST_F(Sources, NameTheNearestVariableOfTheSameNodeWhenNameAndKeyHoldUnderscores) {
  const auto told = [&](const std::string& name) {
    variable(name, "3");
    const std::string text = refusal([] { static_cast<void>(Config::load()); });
    unsetenv(name.c_str());
    return text;
  };
  EXPECT_TRUE(told("TANDEM_NODE_READER_MAX_ERROR")
                  .starts_with("TANDEM_NODE_READER_MAX_ERROR = 3 (environment): no such setting; did you mean "
                               "'TANDEM_NODE_READER_MAX_ERRORS'? known variables: "));
  EXPECT_TRUE(
      told("TANDEM_NODE_TILE_READER_ON_EROR")
          .starts_with("TANDEM_NODE_TILE_READER_ON_EROR = 3 (environment): no such setting; did you mean "
                       "'TANDEM_NODE_TILE_READER_ON_ERROR'? known variables: "));
  EXPECT_TRUE(told("TANDEM_NODE_READER_MAXERRORS")
                  .starts_with("TANDEM_NODE_READER_MAXERRORS = 3 (environment): no such setting; did you mean "
                               "'TANDEM_NODE_READER_MAX_ERRORS'? known variables: "));
  EXPECT_TRUE(told("TANDEM_NODE_MAX_ERRORS").starts_with("TANDEM_NODE_MAX_ERRORS = 3 (environment): no such"));
  EXPECT_TRUE(told("TANDEM_NODE_READER_COLOUR").ends_with(", 'TANDEM_NODE_READER_START_WITHIN'"));
}

TEST_F(Sources, RefuseAVariableThatNamesNoNode) {
  variable("TANDEM_NODE_WORKERS", "3");
  EXPECT_TRUE(refusal([] { static_cast<void>(Config::load()); }).starts_with("TANDEM_NODE_WORKERS = 3"));
}

TEST_F(Sources, LayerKeysThatHoldAnUnderscoreToo) {
  file("tandem.toml",
       "[node.tile_reader]\non_error = \"throw\"\nmax_errors = 1\n[node.reader]\nmax_errors = 1\n");
  variable("TANDEM_NODE_TILE_READER_ON_ERROR", "deliver");
  variable("TANDEM_NODE_TILE_READER_MAX_ERRORS", "2");
  EXPECT_EQ(Config::load().node("tile_reader").on_error, OnError::delivers);
  EXPECT_EQ(Config::load().node("tile_reader").max_errors, 2U);
  CommandLine line{{"program", "--tandem.node.tile_reader.on_error=skip", "--tandem.node.reader.max_errors=3"}};

  const Config config = line.load();

  EXPECT_EQ(config.node("tile_reader").on_error, OnError::skips);
  EXPECT_EQ(config.node("tile_reader").max_errors, 2U);
  EXPECT_EQ(config.node("reader").on_error, OnError::throws);
  EXPECT_EQ(config.node("reader").max_errors, 3U);
}

TEST_F(Sources, MatchVariablesToNodesOfAnySpelling) {
  variable("TANDEM_NODE_TILE_READER_2_WORKERS", "7");
  const Config config = Config::load();
  for (const std::string name : {"tile-reader.2", "Tile_Reader_2", "TILE READER 2"}) {
    EXPECT_EQ(config.node(name).workers, 7) << name;
    EXPECT_NO_THROW(config.check_node_names(std::vector<std::string>{"other", name}));
  }
  EXPECT_EQ(config.node("tile-reader").workers, 1);
}

TEST_F(Sources, NameTheVariableWhenItsNodeDoesNotExist) {
  variable("TANDEM_NODE_RAEDER_WORKERS", "7");
  const std::vector<std::string> nodes{"reader"};
  EXPECT_EQ(
      refusal([&] { Config::load().check_node_names(nodes); }),
      "node.RAEDER (environment variable TANDEM_NODE_RAEDER_WORKERS): no node has this name; did you mean "
      "'reader'? nodes: 'reader'");
}

TEST_F(Sources, ReadTheFileThatIsNamedInsteadOfTheDefault) {
  file("tandem.toml", "[tandem]\nseed = 1\n");
  file("other.toml", "[tandem]\nseed = 2\n");
  file("third.toml", "[tandem]\nseed = 3\n");
  EXPECT_EQ(Config::load().seed, 1U);
  variable("TANDEM_CONFIG", "other.toml");
  EXPECT_EQ(Config::load().seed, 2U);
  EXPECT_EQ((CommandLine{{"program", "--tandem.config=third.toml"}}.load().seed), 3U);
}

TEST_F(Sources, NameTheFileInItsErrors) {
  file("other.toml", "[tandem]\nmemory = \"lots\"\n");
  EXPECT_EQ(refusal([] {
              CommandLine{{"program", "--tandem.config=other.toml"}}.load();
            }),
            "memory = \"lots\" (other.toml:2): not a size; write a number and a unit, such as \"2 GiB\" or "
            "\"512 MiB\"");
}

TEST_F(Sources, RefuseANamedFileThatCannotBeRead) {
  EXPECT_EQ(refusal([] {
              CommandLine{{"program", "--tandem.config=none.toml"}}.load();
            }),
            "cannot read the configuration 'none.toml' (named by the argument --tandem.config): "
            "No such file or directory; name a readable TOML file");
  variable("TANDEM_CONFIG", ".");
  EXPECT_EQ(refusal([] { static_cast<void>(Config::load()); }),
            "cannot read the configuration '.' (named by the environment variable TANDEM_CONFIG): "
            "Is a directory; name a readable TOML file");
}

TEST_F(Sources, RefuseADefaultFileThatCannotBeRead) {
  std::filesystem::create_directory("tandem.toml");
  EXPECT_EQ(refusal([] { static_cast<void>(Config::load()); }),
            "cannot read the configuration 'tandem.toml': Is a directory; name a readable TOML file");
}

TEST(ParseBytes, ReadsNumbersWithUnits) {
  EXPECT_EQ(parse_bytes("2 GiB"), std::size_t{2} << 30);
  EXPECT_EQ(parse_bytes("512MiB"), std::size_t{512} << 20);
  EXPECT_EQ(parse_bytes("800 kB"), 800'000U);
  EXPECT_EQ(parse_bytes("1.5G"), std::size_t{3} << 29);
  EXPECT_EQ(parse_bytes("1.5 gb"), 1'500'000'000U);
  EXPECT_EQ(parse_bytes(" 4096 "), 4096U);
  EXPECT_EQ(parse_bytes("64 B"), 64U);
  EXPECT_EQ(parse_bytes("0"), 0U);
  EXPECT_EQ(parse_bytes("1024 PiB"), std::size_t{1} << 60);
  EXPECT_EQ(parse_bytes("9007199254740993"), 9007199254740993U);  // 2^53 + 1: exact, not through a double
}

TEST(ParseBytes, RefusesEverythingElse) {
  for (const char* text :
       {"", "GiB", "1.5", "1.5 B", ".", "1..5 G", "1,5 G", "-1 G", "2 G iB", "2 Gb/s", "1e3", "inf"}) {
    EXPECT_THROW(static_cast<void>(parse_bytes(text)), ConfigError) << text;
  }
  EXPECT_EQ(refusal([] { static_cast<void>(parse_bytes("lots")); }),
            "\"lots\": not a size; write a number and a unit, such as \"2 GiB\" or \"512 MiB\"");
}

TEST(ParseDuration, ReadsNumbersWithUnits) {
  EXPECT_EQ(parse_duration("10 s"), 10s);
  EXPECT_EQ(parse_duration("250ms"), 250ms);
  EXPECT_EQ(parse_duration("5 us"), 5us);
  EXPECT_EQ(parse_duration("5 \u00b5s"), 5us);
  EXPECT_EQ(parse_duration("7 ns"), 7ns);
  EXPECT_EQ(parse_duration("1 min"), 60s);
  EXPECT_EQ(parse_duration("0.5 min"), 30s);
  EXPECT_EQ(parse_duration("8760 h"), 8760h);
}

TEST(DescribeDuration, IsReadAsTheSameSpan) {
  EXPECT_EQ(describe_duration(10s), "10 s");
  EXPECT_EQ(describe_duration(90s), "90 s");
  EXPECT_EQ(describe_duration(120s), "2 min");
  EXPECT_EQ(describe_duration(8760h), "8760 h");
  EXPECT_EQ(describe_duration(1500ms), "1500 ms");
  EXPECT_EQ(describe_duration(7us), "7 us");
  for (const auto span : {0ns, 1ns, 1'001ns, 60'000'000'001ns}) {
    EXPECT_EQ(parse_duration(describe_duration(span)), span);
  }
}

TEST(ParseDuration, RefusesEverythingElse) {
  for (const char* text : {"", "10", "0", "s", "1.5 ns", "10 sec", "10 s 5 ms", "-1 s", "8761 h", "9e9 s"}) {
    EXPECT_THROW(static_cast<void>(parse_duration(text)), ConfigError) << text;
  }
  EXPECT_EQ(refusal([] { static_cast<void>(parse_duration("10")); }),
            "10: not a span of time; write a number and a unit, such as \"10 s\" or \"250 ms\"");
}

}  // namespace
}  // namespace tandem
