#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

/// Where the workers of a node run: in this process, or in processes of their own.
enum class Placement : std::uint8_t { thread, process };

/// How a worker process begins: as a copy of this one, or as a fresh process of the same program.
enum class Start : std::uint8_t { fork, spawn };

/// What a stream does at the place of an item that carries an error: throws it, passes the item over, or hands
/// it out as it is.
enum class OnError : std::uint8_t { throws, skips, delivers };

/// What a feeder does with a step that finds no room: lets the loop wait for a free buffer, drops the step
/// itself, or drops the oldest that is still waiting to enter the graph.
enum class WhenFull : std::uint8_t { block, drop_newest, drop_oldest };

/// The settings of one node.
struct NodeConfig {
  Placement placement = Placement::thread;
  int workers = 1;  ///< 1 to 1024
  Start start = Start::fork;
  /// How long the main of a spawned worker may take to get to its graph.
  std::chrono::nanoseconds start_within = std::chrono::minutes{1};
  int attempts = 3;  ///< how often one message may take a worker down
  int spares = 1;    ///< worker processes kept ready to replace others, 0 to 64
  /// Bytes that a worker process may take beyond what it inherits. Unset: no limit. On threads it cannot be kept.
  std::optional<std::size_t> worker_memory{};
  /// The number of the worker process that waits for a debugger before it starts; the node keeps no deadline then.
  std::optional<int> wait_for_debugger{};
  /// Unset: a message may run for ever. On threads, where nothing can end it, an overrun is reported and goes on.
  std::optional<std::chrono::nanoseconds> deadline{};
  OnError on_error = OnError::throws;  ///< for errors that arose in this node
  /// How many of this node's items each stream may skip, 0 to 10^9; OnError::skips needs it, and reads it alone.
  std::optional<std::uint64_t> max_errors{};
  WhenFull full = WhenFull::block;  ///< of a feeder

  bool operator==(const NodeConfig&) const = default;
};

/// All settings of one runtime, each validated when it is set; there are no global ones.
/// Layers  defaults, then the file, then the environment, then the command line: the later wins, key by key.
/// Errors  every setter throws tandem::ConfigError, in one line that names the source (file and line,
///         variable or argument), what was found, what is wanted and, for unknown keys, the nearest one.
class Config {
 public:
  /// The defaults only: reads no file, no environment and no command line.
  Config();

  /// Settings from tandem.toml, TANDEM_* and --tandem.KEY=VALUE; removes the arguments it used from argv.
  /// The file is ./tandem.toml if there is one, or the one that --tandem.config=FILE or TANDEM_CONFIG
  /// names, which then must exist. Arguments after "--" are left alone.
  [[nodiscard]] static Config load(int& argc, char** argv);

  /// The same without a command line.
  [[nodiscard]] static Config load();

  /// Settings from TOML text alone; source_name stands for the file in messages.
  [[nodiscard]] static Config parse(std::string_view toml, const std::string& source_name = "tandem.toml");

  /// Validates and stores one setting; a refused one leaves the configuration as it was.
  /// key     "in_flight", "node.reader.workers", ... (a node's name may itself contain dots)
  /// source  where it comes from, for messages: "tandem.toml:3", "argument --tandem.in_flight"
  void set(std::string_view key, std::string_view value, std::string source);

  /// The settings of the node with this name: the defaults where nothing was set.
  [[nodiscard]] NodeConfig node(std::string_view name) const;

  /// Throws ConfigError when settings exist for a node that is not among the known ones: says where they
  /// come from, names the nearest known node and lists all of them.
  void check_node_names(std::span<const std::string> known) const;

  /// Throws ConfigError when one of these nodes has on_error = "skip" and no max_errors: any default would
  /// lose data silently or end a run of days, so the user says it.
  void check_error_budgets(std::span<const std::string> nodes) const;

  bool deterministic = true;             ///< restore FIFO order
  std::optional<std::size_t> in_flight;  ///< items, 1 to 1'000'000; unset: the runtime chooses
  std::optional<std::size_t> memory;     ///< bytes of arrays; unset: chosen from the machine
  std::optional<std::size_t> arrays;  ///< bytes of shared arrays; unset: half of what the machine has available
  std::uint64_t seed = 0;             ///< of all random streams
  std::chrono::nanoseconds grace = std::chrono::milliseconds{5};     ///< stop() lets a busy worker process
                                                                     ///< finish this long, then kills it
  std::chrono::nanoseconds hold_timeout = std::chrono::seconds{10};  ///< next() waits this long when the
                                                                     ///< consumer holds every item, then throws

 private:
  // One accepted node setting, in the order of arrival. The environment cannot spell every node name, so its
  // names are kept folded (upper case, '_' for the rest) and meet the real names only when those are known.
  struct NodeSetting {
    std::string name;
    bool folded = false;
    std::string key;
    std::string value;
    std::string source;

    [[nodiscard]] bool matches(std::string_view node) const;
  };

  void set_global(std::string_view key, std::string_view value, const std::string& source);
  void set_node(NodeSetting setting);
  void read_file(const std::string& path, const std::string& named_by);
  void read_text(std::string_view toml, const std::string& source_name);
  void read_environment();
  void read_variable(std::string_view variable, std::string_view value);

  std::vector<NodeSetting> node_settings_;
};

/// A number of bytes from "2 GiB", "512 MiB", "800 kB", "1.5G" or "4096" (bytes).
/// Units   B; kB, MB, GB, TB, PB: powers of 1000; KiB to PiB and the bare letters K to P: powers of 1024
///         (IEC 80000-13; bare letters as systemd and Docker read them); letter case does not count.
/// Errors  throws tandem::ConfigError for anything else, and above 1 EiB.
[[nodiscard]] std::size_t parse_bytes(std::string_view text);

/// A span of time from "10 s", "250 ms", "5 us", "100 ns", "1.5 min" or "2 h".
/// Errors  throws tandem::ConfigError for anything else, a missing unit included, and above 8760 h.
[[nodiscard]] std::chrono::nanoseconds parse_duration(std::string_view text);

/// The same span as parse_duration() reads it: a whole number of the largest unit that gives one, "90 s".
[[nodiscard]] std::string describe_duration(std::chrono::nanoseconds duration);

}  // namespace tandem
