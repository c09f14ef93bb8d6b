#include <tandem/core.hpp>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <limits>
#include <stdexcept>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include <tandem/log.hpp>
#include <tandem/plan.hpp>
#include <tandem/worker.hpp>

namespace tandem {
namespace {

constexpr std::uint32_t kLeastInFlight = 64;
constexpr std::uint32_t kMostInFlight = 1'000'000;
constexpr std::uint32_t kLargestRing = 512;

std::uint32_t ring_capacity(std::uint32_t blocks) {
  return std::min(std::bit_ceil(std::max<std::uint32_t>(blocks + 2, 4)), kLargestRing);
}

std::string what_of(const NodeInfo& node) {
  if (!node.output_is_arrays() || node.layout.arrays->specs().empty()) return "its output";
  const auto& specs = node.layout.arrays->specs();
  const auto largest = std::max_element(specs.begin(), specs.end(),
                                        [](const auto& a, const auto& b) { return a.bytes() < b.bytes(); });
  return fmt::format("output '{}'", largest->name);
}

}  // namespace

Core::Core(Config config) : config_{std::move(config)} {}

Core::~Core() {
  stop();
  for (const auto& parameter : parameters_) parameter->unshare();
}

const Core*& Core::inside() noexcept {
  thread_local const Core* inside = nullptr;
  return inside;
}

void Core::must_be_gathering() const {
  if (phase_.load(std::memory_order_acquire) != Phase::gathering) {
    throw Error(
        "the runtime has started already; make all nodes before the first next(), "
        "activate() or start(), or use another Runtime");
  }
}

Source& Core::add_source(std::string name, std::function<std::unique_ptr<MessageStore>(std::uint32_t)> store) {
  must_be_gathering();
  sources_.push_back({std::move(name), std::make_unique<Source>(static_cast<std::uint32_t>(sources_.size())),
                      std::move(store)});
  return *sources_.back().source;
}

std::uint32_t Core::add_split(std::string name, std::vector<std::string> arrays) {
  must_be_gathering();
  splits_.push_back(std::make_unique<Split>(name, std::move(arrays)));
  split_sources_.push_back(&add_source(std::move(name),
                                       [](std::uint32_t) { return std::make_unique<NoStore>(); }));
  sources_.back().split = true;
  return static_cast<std::uint32_t>(splits_.size() - 1);
}

std::uint32_t Core::add_node(NewNode node) {
  must_be_gathering();
  auto info = std::make_unique<NodeInfo>();
  info->name = node.name;
  info->index = static_cast<std::uint32_t>(nodes_.size());
  info->type = node.type;
  info->config = config_.node(node.name);
  info->random_key = stream_key(config_.seed, node.name);
  info->message_bytes = node.message_bytes;
  info->packing = node.packing;
  info->hold_timeout = config_.hold_timeout;
  info->layout = node.layout;
  info->make_body = node.make_body;
  if (info->config.placement == Placement::process)
    info->blocks.areas = static_cast<std::uint32_t>(info->config.workers);
  nodes_.push_back(std::move(info));
  wanted_.push_back(std::move(node));
  return nodes_.back()->index;
}

std::uint32_t Core::add_feed(std::string name, BlockLayout layout) {
  if (layout.arrays != nullptr && layout.arrays->grows()) {
    throw Error(
        fmt::format("feeder '{}': only a producer's arrays grow; declare the most that there can be, with "
                    "up_to() instead of grows()",
                    name));
  }
  NewNode node;
  node.name = name;
  node.type = "feeder";
  node.layout = std::move(layout);
  const std::uint32_t index = add_node(std::move(node));
  NodeInfo& info = *nodes_[index];
  info.config.placement = Placement::thread;
  info.config.workers = 0;
  info.blocks.areas = 1;
  add_source(std::move(name), [](std::uint32_t) { return std::make_unique<NoStore>(); });
  sources_.back().extra = Feed::extra(info.config.full);
  own_sources_[index] = sources_.size() - 1;
  return index;
}

std::uint32_t Core::add_calls(NewNode node, std::function<std::unique_ptr<MessageStore>(std::uint32_t)> store) {
  std::string name = node.name;
  const std::uint32_t index = add_node(std::move(node));
  add_source(std::move(name), std::move(store));
  sources_.back().apart = true;
  own_sources_[index] = sources_.size() - 1;
  return index;
}

std::shared_ptr<ArrayStore> Core::arrays() {
  if (is_worker_process())
    throw Error("a worker cannot make a shared array in the runtime; make it with array<T>(context, shape)");
  const std::lock_guard lock{arrays_mutex_};
  if (arrays_) return arrays_;
  const bool any_process = std::any_of(nodes_.begin(), nodes_.end(), [](const auto& node) {
    return node->config.placement == Placement::process;
  });
  if (arrays_are_chosen_ && any_process) {
    throw Error(
        "the runtime has started its worker processes already; make the first shared array before, or an "
        "Executor");
  }
  arrays_ = std::make_shared<ArrayStore>(config_.arrays.value_or(available_memory() / 2));
  return arrays_;
}

void Core::add_parameter(std::shared_ptr<ParameterCell> cell) {
  must_be_gathering();
  cell->set_owner(this);
  parameters_.push_back(std::move(cell));
}

std::uint64_t Core::add_sequencer(Member& member, bool restores) {
  if (sequencers_ == std::numeric_limits<std::uint64_t>::max()) {
    throw Error("a runtime takes at most 64 sequencers; use another Runtime for the rest");
  }
  add_member(member);
  const std::uint64_t bit = sequencers_ + 1;
  sequencers_ |= bit;
  orders_ = orders_ || restores;
  return bit;
}

void Core::add_member(Member& member) {
  must_be_gathering();
  const std::lock_guard lock{members_mutex_};
  members_.push_back(&member);
}

void Core::remove_member(Member& member) noexcept {
  std::unique_lock lock{members_mutex_};
  std::erase(members_, &member);
  members_idle_.wait(lock, [this] { return calls_ == 0; });
}

// Calls outside the lock, so that a member may call back; a removed member is gone only when no
// call is under way.
template <class Call>
void Core::for_each_member(Call call) noexcept {
  std::vector<Member*> members;
  {
    const std::lock_guard lock{members_mutex_};
    members = members_;
    ++calls_;
  }
  for (Member* const member : members) call(*member);
  const std::lock_guard lock{members_mutex_};
  if (--calls_ == 0) members_idle_.notify_all();
}

void Core::start() {
  if (is_worker_process()) throw Error("a body in a worker process cannot take items out of the graph");
  // Without the lock where possible: stop() may hold it for as long as a commander takes to return.
  if (is_open()) return;
  if (is_closed()) {
    if (start_error_) std::rethrow_exception(start_error_);  // written before the phase was
    return;
  }
  const std::lock_guard lock{life_mutex_};
  if (start_error_) std::rethrow_exception(start_error_);
  if (!is_gathering()) return;
  if (is_of_this_worker()) serve_spawned(*Spawned::here());
  if (Spawned::here() != nullptr) return shut_down();  // of the host alone; main goes on to this worker's
  try {
    check_names();
    plan();
    build();
    open_sources();
    begin();
    phase_.store(Phase::open, std::memory_order_release);
    open_members();
  } catch (const Error&) { refuse(std::current_exception()); } catch (const std::runtime_error& error) {
    // std::system_error for a thread of ours, its base class for one of oneTBB's.
    refuse(std::make_exception_ptr(Error(
        fmt::format("cannot start a thread: {}; raise the limit on processes (ulimit -u)", error.what()))));
  } catch (...) { refuse(std::current_exception()); }
}

void Core::refuse(std::exception_ptr reason) {
  start_error_ = reason;
  shut_down();
  std::rethrow_exception(reason);
}

void Core::open_members() {
  std::vector<Member*> members;
  {
    const std::lock_guard lock{members_mutex_};
    members = members_;
  }
  for (Member* const member : members) member->opened();
  ending_.look();  // there may be no other source
}

void Core::check_names() const {
  std::vector<std::string> names;
  for (const auto& node : nodes_) {
    if (!own_sources_.contains(node->index)) names.push_back(node->name);  // else below
  }
  for (const SourceEntry& entry : sources_) names.push_back(entry.name);
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    throw ConfigError(fmt::format("two nodes are named '{}'; give each its own name", *twice));
  }
  config_.check_node_names(names);
  config_.check_error_budgets(names);
}

std::vector<ArrayInfo> Core::shared_arrays() {
  const std::lock_guard lock{arrays_mutex_};
  return arrays_ ? arrays_->arrays() : std::vector<ArrayInfo>{};
}

// Saturates: what does not fit into a number fits into no memory either.
std::size_t Core::route_bytes() const {
  constexpr std::size_t kMost = std::numeric_limits<std::size_t>::max();
  std::size_t bytes = 0;
  for (const auto& node : nodes_) {
    // Small blocks share pages, which every area may come to have.
    const std::size_t times = (node->layout.is_large() ? 1 : node->blocks.areas) * sources_to(*node);
    std::size_t all = 0;
    if (__builtin_mul_overflow(node->layout.stride(), times, &all)) return kMost;
    if (__builtin_add_overflow(bytes, all, &bytes)) return kMost;
  }
  return bytes;
}

// Whose messages may come to a node, as far as anybody knows: every edge may lead there.
std::size_t Core::sources_to(const NodeInfo& node) const {
  const auto own = own_sources_.find(node.index);
  if (own != own_sources_.end() && sources_[own->second].apart) return 1;
  const auto in_graph =
      std::count_if(sources_.begin(), sources_.end(), [](const SourceEntry& entry) { return !entry.apart; });
  return static_cast<std::size_t>(std::max<std::ptrdiff_t>(in_graph, 1));
}

bool Core::has_one_source() const noexcept {
  return std::count_if(sources_.begin(), sources_.end(),
                       [](const SourceEntry& entry) { return !entry.apart; }) == 1;
}

std::uint32_t Core::choose_in_flight() const {
  const std::size_t each = route_bytes();
  const std::size_t machine = available_memory();
  const std::size_t budget = std::min(config_.memory.value_or(machine / 2), machine);
  const std::string bound = config_.memory && *config_.memory <= machine
                                ? fmt::format("memory = {}", describe_bytes(*config_.memory))
                                : fmt::format("the machine has {} available", describe_bytes(machine));
  std::size_t extra = 0;  // a feeder's buffers beyond those in flight
  for (const auto& node : nodes_) extra += node->layout.stride() * extra_blocks(*node);
  const std::size_t fits =
      each == 0 ? kMostInFlight
                : std::min<std::size_t>((budget - std::min(budget, extra)) / each, kMostInFlight);
  std::size_t workers = 0;
  for (const auto& node : nodes_) workers += static_cast<std::size_t>(node->config.workers);
  const std::size_t wish = config_.in_flight.value_or(std::max<std::size_t>(kLeastInFlight, 4 * workers));
  // Two contradicting wishes are an error; a default gives way.
  const bool too_much = fits == 0 || (config_.in_flight && wish > fits);
  if (!too_much) return static_cast<std::uint32_t>(std::min(wish, fits));
  const auto largest = std::max_element(nodes_.begin(), nodes_.end(), [](const auto& a, const auto& b) {
    return a->layout.stride() < b->layout.stride();
  });
  const std::string who = fmt::format("node '{}': {} needs {} bytes", (*largest)->name, what_of(**largest),
                                      (*largest)->layout.stride());
  std::string others = nodes_.size() > 1 ? fmt::format(" (all nodes together {})", each) : "";
  for (const auto& node : nodes_) {
    if (extra_blocks(*node) == 0) continue;
    others += fmt::format(", and feeder '{}' needs beyond those in flight {} times {} bytes", node->name,
                          extra_blocks(*node), node->layout.stride());
  }
  if (fits == 0) {
    throw MemoryError(fmt::format("{} for one item{}, but {}; make the output smaller or raise memory", who,
                                  others, bound));
  }
  throw MemoryError(
      fmt::format("{} for each of {} items{}, {} in all, but {}; lower in_flight to {} or raise "
                  "memory",
                  who, wish, others, describe_bytes(each * wish), bound, fits));
}

void Core::plan() {
  in_flight_ = choose_in_flight();
  const bool wants_arrays = std::any_of(nodes_.begin(), nodes_.end(), [](const auto& node) {
    return node->packs_messages() || node->output_grows();
  });
  if (wants_arrays)
    static_cast<void>(arrays());  // for messages that are too large for a block, and for what grows
  {
    const std::lock_guard lock{arrays_mutex_};
    arrays_are_chosen_ = true;
    chosen_arrays_ = arrays_;
  }
  lay_out();
  segment_ = std::make_unique<Segment>(segment_bytes_);
}

// Where all things lie follows from the nodes and in_flight alone: a spawned worker finds the same.
void Core::lay_out() {
  const auto blocks = [this](const NodeInfo& node) {
    return static_cast<std::uint32_t>(in_flight_ * sources_to(node));
  };
  std::size_t offset = sizeof(HostPage);
  for (const auto& parameter : parameters_) offset += parameter->shared_bytes();
  offset = round_up(offset, Segment::page_bytes());
  for (const auto& node : nodes_) {
    if (node->config.placement != Placement::process) continue;
    for (int slot = 0; slot < node->config.workers + node->config.spares; ++slot) {
      channels_.push_back({ring_capacity(blocks(*node)), offset});
      offset += channels_.back().bytes();
    }
  }
  slots_ = static_cast<std::uint32_t>(channels_.size());
  for (const auto& node : nodes_) {
    node->blocks.offset = offset;
    node->blocks.stride = node->layout.stride();
    node->blocks.count = blocks(*node) + extra_blocks(*node);
    node->arrays = chosen_arrays_;
    offset += node->blocks.bytes();
  }
  segment_bytes_ = offset;
}

std::string Core::plan_text() const {
  Plan plan;
  plan.add(config_);
  for (const SourceEntry& entry : sources_)
    plan.add("the graph", "source of messages", fmt::format("'{}'", entry.name));
  for (const auto& split : splits_)
    plan.add("the graph", "arrays that are split",
             fmt::format("'{}': {}", split->name(), fmt::join(split->arrays(), ", ")));
  for (const auto& node : nodes_) plan.add(*node);
  for (const auto& parameter : parameters_)
    plan.add("the runtime", "bytes of a Parameter", fmt::format("{}", parameter->shared_bytes()));
  plan.add("the runtime", "bytes of shared memory", fmt::format("{}", segment_bytes_));
  return plan.text();
}

template <class Move>
void Core::place_parameters(std::byte* base, Move move) const {
  std::byte* place = base + sizeof(HostPage);
  for (const auto& parameter : parameters_) {
    move(*parameter, place);
    place += parameter->shared_bytes();
  }
}

std::uint32_t Core::extra_blocks(const NodeInfo& node) const {
  const auto own = own_sources_.find(node.index);
  return own == own_sources_.end() ? 0 : sources_[own->second].extra;
}

void Core::build() {
  const std::size_t control = nodes_.empty() ? segment_->size() : nodes_.front()->blocks.offset;
  if (const int error = segment_->back(0, control); error != 0) {
    throw MemoryError(
        fmt::format("the system refused {} for {} worker channels: {}; lower workers "
                    "or in_flight, or free memory",
                    describe_bytes(control), slots_, std::strerror(error)));
  }
  page_ = new (segment_->base()) HostPage;
  place_parameters(segment_->base(), [](ParameterCell& cell, std::byte* place) { cell.share(place); });
  std::vector<Segment*> shared{segment_.get()};
  if (chosen_arrays_) shared.push_back(&chosen_arrays_->segment());
  if (slots_ > 0) pump_ = std::make_unique<Pump>(std::move(shared), *page_, config_.grace);
  std::uint32_t slot = 0;
  for (const auto& node : nodes_) build_crew(*node, wanted_[node->index], slot);
}

void Core::build_crew(NodeInfo& node, const NewNode& wanted, std::uint32_t& slot) {
  pools_.push_back(std::make_unique<Pool>(node.name, *segment_, node.layout, node.blocks));
  Pool& pool = *pools_.back();
  crew_of_.push_back(nullptr);
  feed_of_.push_back(nullptr);
  const auto own = own_sources_.find(node.index);
  if (own != own_sources_.end() && !sources_[own->second].apart) {
    feeds_.push_back(std::make_unique<Feed>(node, pool, own_source(node.index), in_flight_));
    feed_of_.back() = feeds_.back().get();
    if (pump_) {
      pump_->follow(feeds_.back()->rhythm());
      feeds_.back()->on_wait = [this] { hurry(); };
    }
    return;
  }
  if (node.config.placement == Placement::thread) {
    if (node.config.worker_memory) {
      log_warning(
          fmt::format("node '{}': worker_memory cannot be kept on threads, which share the program's memory; "
                      "it is kept with placement = \"process\"",
                      node.name));
    }
    auto crew =
        std::make_unique<ThreadCrew>(node, pool, *wanted.outlet, wanted.spawn, wanted.may_sleep, stopping_);
    thread_crews_.push_back(crew.get());
    crews_.push_back(std::move(crew));
    crew_of_.back() = crews_.back().get();
    return;
  }
  const auto first = channels_.begin() + slot;
  auto crew = std::make_unique<ProcessCrew>(
      node, pool, *wanted.outlet, segment_->base(), *page_,
      std::vector<ChannelLayout>(first, first + node.config.workers + node.config.spares), slot,
      [pump = pump_.get()](std::uint32_t which, std::uint32_t incarnation) {
        pump->launch(which, incarnation);
      },
      [pump = pump_.get()](std::uint32_t which, std::uint32_t incarnation) {
        pump->inspect(which, incarnation);
      },
      [pump = pump_.get()] { pump->ring(); }, [this] { ask_to_stop(); });
  slot += static_cast<std::uint32_t>(node.config.workers + node.config.spares);
  pump_->add(*crew);
  process_crews_.push_back(crew.get());
  crews_.push_back(std::move(crew));
  crew_of_.back() = crews_.back().get();
}

void Core::open_sources() {
  for (SourceEntry& entry : sources_) {
    entry.source->open(*this, shared_from_this(), entry.make_store(in_flight_ + entry.extra), in_flight_,
                       entry.extra, entry.apart ? 0 : sequencers_);
  }
  for (const SourceEntry& entry : sources_) {
    if (entry.split) {
      ending_.add_split(*entry.source);
    } else if (!entry.apart) {
      ending_.add_origin(*entry.source);
    }
  }
}

void Core::begin() {
  if (pump_) {
    std::vector<WorkerPlan> plans = worker_plans(segment_->base(), pump_->bell().rung_at());
    for (WorkerPlan& plan : plans) {
      plan.arrays = chosen_arrays_ ? chosen_arrays_->segment().base() : nullptr;
      plan.arrays_bytes = chosen_arrays_ ? chosen_arrays_->segment().size() : 0;
    }
    order_ = spawn_order(plans);
    // What stands in the buffers would otherwise be printed by the workers too. Not all streams: somebody may
    // sit in a read of one.
    std::cout.flush();
    std::fflush(stdout);
    pump_->start(std::move(plans), order_.get());  // forks; before this runtime has any other thread
  }
  for (ThreadCrew* const crew : thread_crews_) crew->start();
}

std::vector<WorkerPlan> Core::worker_plans(std::byte* base, int bell) const {
  std::vector<WorkerPlan> plans;
  for (const auto& node : nodes_) {
    if (node->config.placement != Placement::process) continue;
    for (int slot = 0; slot < node->config.workers + node->config.spares; ++slot) {
      plans.push_back({this, &nodes_, &splits_, node.get(), channels_[plans.size()], base, segment_bytes_,
                       nullptr, 0, reinterpret_cast<HostPage*>(base), bell});
    }
  }
  return plans;
}

std::unique_ptr<SpawnOrder> Core::spawn_order(const std::vector<WorkerPlan>& plans) const {
  SpawnFacts facts{number_, in_flight_, segment_bytes_, chosen_arrays_ ? chosen_arrays_->segment().size() : 0,
                   {},      {}};
  bool any = false;
  for (const WorkerPlan& plan : plans) {
    facts.slots.emplace_back();
    facts.slots.back().channel = plan.channel;
    facts.slots.back().spawned = plan.node->config.start == Start::spawn;
    fmt::format_to_n(facts.slots.back().name, sizeof facts.slots.back().name - 1, "tandem:{}", plan.node->name);
    any = any || facts.slots.back().spawned;
  }
  if (!any) return nullptr;
  facts.plan = plan_text();
  return std::make_unique<SpawnOrder>(facts, segment_->base(), pump_->bell().rung_at());
}

bool Core::is_of_this_worker() const noexcept {
  const Spawned* const self = Spawned::here();
  return self != nullptr && self->facts().runtime == number_;
}

// Instead of all that start() does in the host. Nothing here takes memory that is shared, or a thread.
void Core::serve_spawned(const Spawned& self) noexcept {
  std::vector<WorkerPlan> plans;
  try {
    check_names();
    in_flight_ = self.facts().in_flight;
    lay_out();
    const std::string difference = Plan::first_difference(plan_text(), self.facts().plan);
    if (!difference.empty()) {
      self.refuse(
          difference +
          "; main must build the same graph in a spawned worker, from the same configuration, or set start = "
          "\"fork\"");
    }
    place_parameters(self.base(), [](ParameterCell& cell, std::byte* place) { cell.attach(place); });
    plans = worker_plans(self.base(), self.bell());
    plans[self.slot()].arrays = self.arrays();
    plans[self.slot()].arrays_bytes = self.facts().arrays_bytes;
  } catch (const std::exception& error) { self.refuse(error.what()); }
  plans[self.slot()].arrives = true;
  serve(plans[self.slot()], self.incarnation());
}

// Whoever waits for the end of the run, or destroys the runtime, does the rest.
void Core::ask_to_stop() noexcept {
  for (SourceEntry& entry : sources_) entry.source->stop();
  for_each_member([](Member& member) { member.close(); });
  // After the streams are closed: what a body makes of it is no item any more, and no error.
  stopping_.store(1, std::memory_order_relaxed);
  if (page_ != nullptr) page_->stopping.store(1, std::memory_order_relaxed);
}

void Core::stop() noexcept {
  if (is_worker_process()) {  // everything here is a copy of the host's
    if (serves(this)) ask_host_to_stop();
    return;
  }
  if (inside() == this) return ask_to_stop();
  // The host has started it, or this worker would not be: main is to get there, whoever stops it before.
  if (is_of_this_worker()) return;
  const std::lock_guard lock{life_mutex_};
  if (phase_.load(std::memory_order_acquire) == Phase::closed) return;
  shut_down();
}

void Core::shut_down() noexcept {
  phase_.store(Phase::closed, std::memory_order_release);
  ask_to_stop();
  for (const auto& crew : crews_) crew->stop();
  if (pump_) pump_->stop();
  for (ThreadCrew* const crew : thread_crews_) crew->wait_idle();
  for_each_member([](Member& member) { member.join(); });
  for (const auto& crew : crews_) {
    crew->stop();  // what a commander sent while it was ending
    crew->wait_quiet();
  }
  drop_bodies();
  if (const auto hear = audit_at_end.load(std::memory_order_relaxed)) hear(audit());
  for (SourceEntry& entry : sources_) entry.source->close();
}

// Now, while what they refer to is still there, and not with the last item that somebody keeps.
void Core::drop_bodies() noexcept {
  const Core* const before = std::exchange(inside(), this);
  for (ThreadCrew* const crew : thread_crews_) crew->drop_bodies();
  for (const auto& node : nodes_) node->make_body = nullptr;
  wanted_.clear();
  inside() = before;
}

bool Core::drained() const noexcept {
  return std::all_of(sources_.begin(), sources_.end(),
                     [](const SourceEntry& entry) { return entry.apart || entry.source->drained(); });
}

const NodeInfo* Core::starved_node() const noexcept {
  const auto starved =
      std::find_if(crews_.begin(), crews_.end(), [](const auto& crew) { return crew->starved(); });
  return starved == crews_.end() ? nullptr : &(*starved)->node();
}

bool Core::waits_for_user(bool with_loans) const noexcept {
  if (starved_node() != nullptr) {
    return std::none_of(crews_.begin(), crews_.end(), [](const auto& crew) { return crew->busy(); }) &&
           std::none_of(split_sources_.begin(), split_sources_.end(),
                        [](const Source* source) { return source->may_make(); });
  }
  bool any = false;
  for (const SourceEntry& entry : sources_) {
    if (entry.apart || entry.source->drained()) continue;
    if (entry.split && entry.source->quiet()) continue;  // nothing of it without one of the others
    if (!entry.source->exhausted_by_user(with_loans)) return false;
    any = true;
  }
  return any;
}

std::uint64_t Core::live_messages() const noexcept {
  if (is_gathering()) return 0;
  std::uint64_t live = 0;
  for (const SourceEntry& entry : sources_) live += entry.source->live();
  return live;
}

std::uint64_t Core::emitted_messages() const noexcept {
  std::uint64_t emitted = 0;
  for (const SourceEntry& entry : sources_) emitted += entry.source->emitted();
  return emitted;
}

std::uint64_t Core::lent_blocks() const noexcept {
  if (is_gathering()) return 0;
  std::uint64_t lent = 0;
  for (const auto& pool : pools_) lent += pool->lent();
  return lent;
}

Audit Core::audit() {
  // What is on its way from one column to another is in neither, for a moment: what is really broken stays so.
  constexpr int kLooks = 1000;
  Audit audit;
  for (int look = 0; look < kLooks; ++look) {
    audit = Audit{};
    if (is_gathering()) return audit;
    for (const auto& crew : crews_) crew->audit(audit);
    for (const auto& feed : feeds_) feed->audit(audit);
    for (const SourceEntry& entry : sources_) entry.source->audit(entry.name, audit);
    {
      const std::lock_guard lock{arrays_mutex_};
      if (arrays_) arrays_->audit(audit);
    }
    if (audit.balanced()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return audit;
}

std::vector<pid_t> Core::worker_pids(bool spares) const {
  std::vector<pid_t> pids;
  if (is_gathering()) return pids;
  for (ProcessCrew* const crew : process_crews_) {
    const std::vector<pid_t> some = crew->pids(spares);
    pids.insert(pids.end(), some.begin(), some.end());
  }
  return pids;
}

void Core::message_left(Source& source, std::uint64_t sequence) noexcept {
  for_each_member([&](Member& member) { member.message_left(source.id(), sequence); });
}

void Core::credit_free(Source& source) noexcept {
  for_each_member([&](Member& member) { member.credit_free(source.id()); });
}

void Core::source_drained(Source&) noexcept {
  for_each_member([](Member& member) { member.source_drained(); });
  ending_.look();
}

void Core::source_quiet(Source&) noexcept { ending_.look(); }

}  // namespace tandem
