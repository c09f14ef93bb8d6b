// Messages that are not their bytes: strings, lists, maps. recipes.expected is the output.
#include <tandem/message.hpp>

#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <tandem/tandem.hpp>

struct Recipe {
  std::string title;
  std::vector<std::string> steps;
  std::map<std::string, double> grams;

  void serialize(auto& archive) { archive(title, steps, grams); }
};

struct Summary {  // what comes back lies in shared memory, so it is plain
  double grams;
  int steps;
};

struct Book {
  std::vector<Recipe> recipes{{"pancakes", {"mix", "wait", "fry"}, {{"flour", 250}, {"milk", 500}}},
                              {"toast", {"toast"}, {{"bread", 60}}},
                              {"salt", {}, {{"salt", 5.5}}}};
  std::size_t next = 0;
  std::optional<Recipe> operator()() {
    return next < recipes.size() ? std::optional{recipes[next++]} : std::nullopt;
  }
};

int main() {
  auto config = tandem::Config::parse("[node.cook]\nplacement = \"process\"\nworkers = 2");
  tandem::Runtime runtime{config};
  oneapi::tbb::flow::graph graph;
  tandem::commander_node<Recipe> book{graph, runtime, "book", Book{}};
  tandem::producer_node<Recipe, Summary> cook{graph, runtime, "cook", [](const Recipe& recipe) {
                                                Summary all{0, int(recipe.steps.size())};
                                                for (const auto& [what, grams] : recipe.grams)
                                                  all.grams += grams;
                                                return all;
                                              }};
  tandem::sequencer_node<Summary> order{graph, runtime};
  tandem::stream_node<Summary> summaries{graph, runtime};
  make_edge(book, cook);
  make_edge(cook, order);
  make_edge(order, summaries);
  for (const auto& item : summaries) {
    const auto& recipe = item.message<Recipe>();  // as it was sent
    std::printf("%s: %d steps, %g g\n", recipe.title.c_str(), item->steps, item->grams);
  }
}
