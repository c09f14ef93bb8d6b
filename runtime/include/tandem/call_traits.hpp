#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <tandem/archive.hpp>
#include <tandem/call.hpp>
#include <tandem/context.hpp>

// How a function's parameters are written and read, and the thunk that calls it in a worker.

namespace tandem {
namespace detail {

template <class T>
inline constexpr bool kIsSharedArray = false;  // NOLINT(*-naming)
template <class T>
inline constexpr bool kIsSharedArray<SharedArray<T>> = true;

// Whether a function with a parameter of this type might write to an array through it.
template <class Parameter>
consteval bool may_write() {
  using Value = std::remove_cvref_t<Parameter>;
  if constexpr (kIsSharedArray<Value>) {
    constexpr bool kConstReference =
        std::is_reference_v<Parameter> && std::is_const_v<std::remove_reference_t<Parameter>>;
    return !Value::kReadOnly && !kConstReference;
  } else {
    return !std::is_arithmetic_v<Value> && !std::is_enum_v<Value>;  // it may hold one
  }
}

template <class R, class... Parameters>
struct Signature {
  using Result = R;
  static constexpr std::size_t kCount = sizeof...(Parameters);
  using List = std::tuple<Parameters...>;
};

template <class List>
struct WithoutContext {
  using Kept = List;
  static constexpr bool kContext = false;
};
template <class... Parameters>
  requires(sizeof...(Parameters) > 0 &&
           std::is_same_v<std::tuple_element_t<sizeof...(Parameters) - 1, std::tuple<Parameters...>>, Context&>)
struct WithoutContext<std::tuple<Parameters...>> {
  template <std::size_t... I>
  static std::tuple<std::tuple_element_t<I, std::tuple<Parameters...>>...> keep(std::index_sequence<I...>);
  using Kept = decltype(keep(std::make_index_sequence<sizeof...(Parameters) - 1>{}));
  static constexpr bool kContext = true;
};

template <class R, class... P>
Signature<R, P...> signature_of(R (*)(P...));
template <class R, class C, class... P>
Signature<R, P...> signature_of(R (C::*)(P...));
template <class R, class C, class... P>
Signature<R, P...> signature_of(R (C::*)(P...) const);
template <class R, class... P>
Signature<R, P...> signature_of(R (*)(P...) noexcept);
template <class R, class C, class... P>
Signature<R, P...> signature_of(R (C::*)(P...) const noexcept);

template <class F>
inline constexpr bool kIsFunction = std::is_pointer_v<F> && std::is_function_v<std::remove_pointer_t<F>>;

// A plain function, a callable with one operator(), or one with several, which takes what it is given.
template <class F, class... Args>
auto signature() {
  if constexpr (kIsFunction<F>) {
    return decltype(signature_of(std::declval<F>())){};
  } else if constexpr (requires { &F::operator(); }) {
    return decltype(signature_of(&F::operator())){};
  } else if constexpr (std::is_invocable_v<F&, std::decay_t<Args>..., Context&>) {
    return Signature<std::invoke_result_t<F&, std::decay_t<Args>..., Context&>, std::decay_t<Args>...,
                     Context&>{};
  } else {
    return Signature<std::invoke_result_t<F&, std::decay_t<Args>...>, std::decay_t<Args>...>{};
  }
}

template <class List>
struct Values;
template <class... Parameters>
struct Values<std::tuple<Parameters...>> {
  using Tuple = std::tuple<std::decay_t<Parameters>...>;
};

// Where the function itself is in the bytes, if it is a plain one: a thunk serves all of a type.
template <class F>
void write_function(ArchiveWriter& writer, F function) {
  if constexpr (kIsFunction<F>) {
    const CodeAddress address = CodeAddress::of(reinterpret_cast<const void*>(function));
    writer.write(&address, sizeof address);
  } else {
    static_assert(
        std::is_empty_v<F> && std::default_initializable<F>,
        "a callable with members or captures may refer to this process's memory: hand what it needs over as "
        "arguments");
  }
}
template <class F>
F read_function(ArchiveReader& reader) {
  if constexpr (kIsFunction<F>) {
    CodeAddress address;
    reader.read(&address, sizeof address);
    return reinterpret_cast<F>(const_cast<void*>(address.find()));
  } else {
    return F{};
  }
}

template <class F, class List, bool kContext, class Tuple, std::size_t... I>
decltype(auto) apply(F& function, Tuple& values, Context& context, std::index_sequence<I...>) {
  // Each as it was declared: a reference to the value here, or the value itself.
  if constexpr (kContext) {
    return function(static_cast<std::tuple_element_t<I, List>&&>(std::get<I>(values))..., context);
  } else {
    return function(static_cast<std::tuple_element_t<I, List>&&>(std::get<I>(values))...);
  }
}

// Found once for each kind of call: it means to look through all that is loaded.
template <class Traits>
const CodeAddress& address_of() {
  static const CodeAddress address = CodeAddress::of(reinterpret_cast<const void*>(Traits::thunk()));
  return address;
}

}  // namespace detail

/// What a call of F with these arguments carries.
template <class F, class... Args>
struct CallTraits {
  using Signature = decltype(detail::signature<F, Args...>());
  using Parameters = detail::WithoutContext<typename Signature::List>;
  using List = typename Parameters::Kept;
  using Tuple = typename detail::Values<List>::Tuple;
  using Result = std::decay_t<typename Signature::Result>;
  static_assert(std::tuple_size_v<List> == sizeof...(Args),
                "wanted: an argument for each parameter of the function");
  static_assert(!std::is_pointer_v<Result>, "a pointer is worth nothing in another process; return the value");

  /// Returns whether the call may write to an array of its arguments.
  static bool write(ArchiveWriter& writer, F function, Args&&... arguments) {
    detail::write_function(writer, function);
    const Tuple values{std::forward<Args>(arguments)...};
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      bool may_write = false;
      ((may_write = write_one<std::tuple_element_t<I, List>>(writer, std::get<I>(values)) || may_write), ...);
      return may_write;
    }(std::make_index_sequence<std::tuple_size_v<Tuple>>{});
  }
  static Thunk thunk() {
    return [](ArchiveReader& arguments, ArchiveWriter& result, Context& context) {
      F function = detail::read_function<F>(arguments);
      Tuple values;
      std::apply([&arguments](auto&... value) { (arguments(value), ...); }, values);
      arguments.end();
      constexpr auto kAll = std::make_index_sequence<std::tuple_size_v<Tuple>>{};
      if constexpr (std::is_void_v<Result>) {
        detail::apply<F, List, Parameters::kContext>(function, values, context, kAll);
      } else {
        const Result made = detail::apply<F, List, Parameters::kContext>(function, values, context, kAll);
        result(made);
      }
    };
  }

 private:
  template <class Parameter, class Value>
  static bool write_one(ArchiveWriter& writer, const Value& value) {
    const std::size_t before = writer.arrays().size();
    writer.set_reading(!detail::may_write<Parameter>());
    writer(value);
    return detail::may_write<Parameter>() && writer.arrays().size() > before;
  }
};

/// A callable of one tuple, from one of as many arguments.
template <class F>
struct Spread {
  template <class... Args>
    requires std::invocable<F&, const Args&...>
  auto operator()(const std::tuple<Args...>& values) const {
    return std::apply(F{}, values);
  }
  template <class... Args>
    requires std::invocable<F&, const Args&..., Context&>
  auto operator()(const std::tuple<Args...>& values, Context& context) const {
    return std::apply([&context](const auto&... value) { return F{}(value..., context); }, values);
  }
};

/// The same for several inputs in one call.
template <class F, class Input>
struct MapTraits {
  using One = CallTraits<F, std::decay_t<Input>>;
  // For a function that returns nothing: that it has returned.
  using Result = std::conditional_t<std::is_void_v<typename One::Result>, bool, typename One::Result>;
  using Inputs = std::vector<std::decay_t<Input>>;

  /// As CallTraits::write().
  static bool write(ArchiveWriter& writer, F function, const Inputs& inputs) {
    detail::write_function(writer, function);
    writer(inputs);
    return detail::may_write<std::tuple_element_t<0, typename One::List>>() && !writer.arrays().empty();
  }
  static Thunk thunk() {
    return [](ArchiveReader& arguments, ArchiveWriter& result, Context& context) {
      F function = detail::read_function<F>(arguments);
      Inputs inputs;
      arguments(inputs);
      arguments.end();
      std::vector<Result> made;
      made.reserve(inputs.size());
      for (auto& input : inputs) {
        std::tuple<std::decay_t<Input>&> values{input};
        constexpr auto kAll = std::make_index_sequence<1>{};
        if constexpr (std::is_void_v<typename One::Result>) {
          detail::apply<F, typename One::List, One::Parameters::kContext>(function, values, context, kAll);
          made.push_back(true);
        } else {
          made.push_back(detail::apply<F, typename One::List, One::Parameters::kContext>(function, values,
                                                                                         context, kAll));
        }
      }
      result(made);
    };
  }
};

}  // namespace tandem
