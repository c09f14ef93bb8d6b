#include <tandem/array.hpp>
#include <tandem/error.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <complex>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

struct Particle {
  explicit Particle(double at) : x{static_cast<float>(at)} {}  // no default constructor, on purpose
  float x = 0;
  double velocity[3] = {0, 0, 0};
  std::int64_t id = 0;
};

struct Pair {
  float first;
  float second;
};

struct SwappedPair {
  float second;
  float first;
};

template <>
struct tandem::RecordFields<Particle> {
  static std::vector<Field> fields() {
    return {field<&Particle::x>("x"), field<&Particle::velocity>("velocity"), field<&Particle::id>("id")};
  }
};

template <>
struct tandem::RecordFields<Pair> {
  static std::vector<Field> fields() { return {field<&Pair::first>("first"), field<&Pair::second>("second")}; }
};

template <>
struct tandem::RecordFields<SwappedPair> {
  static std::vector<Field> fields() {
    return {field<&SwappedPair::second>("second"), field<&SwappedPair::first>("first")};
  }
};

namespace tandem {
namespace {

struct Undescribed {
  int value;
};

// Arrays with memory of their own.
class Block {
 public:
  explicit Block(std::vector<ArraySpec> specs)
      : layout_{std::move(specs)},
        bytes_{static_cast<std::byte*>(::operator new(std::max<std::size_t>(layout_.bytes(), 1),
                                                      std::align_val_t{64}))} {
    std::fill_n(bytes_.get(), layout_.bytes(), std::byte{0});
  }

  Arrays arrays() { return Arrays{layout_, bytes_.get()}; }

 private:
  struct Release {
    void operator()(std::byte* bytes) const { ::operator delete(bytes, std::align_val_t{64}); }
  };

  ArraysLayout layout_;
  std::unique_ptr<std::byte, Release> bytes_;
};

// The text of the Exception that the call throws.
template <class Exception = Error, class Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const Exception& error) { return error.what(); }
  return "(nothing was thrown)";
}

Block pixels_block() {
  return Block{{array<std::uint8_t>("pixels", {64, 256, 256, 3}), array<std::int32_t>("origins", {64, 2})}};
}

template <class T>
class EveryDtype : public testing::Test {};

using Types = testing::Types<bool, std::int8_t, std::int16_t, std::int32_t, std::int64_t, std::uint8_t,
                             std::uint16_t, std::uint32_t, std::uint64_t, Eigen::half, Eigen::bfloat16, float,
                             double, std::complex<float>, std::complex<double>>;
TYPED_TEST_SUITE(EveryDtype, Types);

TYPED_TEST(EveryDtype, HasItsSizeAndAName) {
  EXPECT_EQ(item_bytes(dtype_of<TypeParam>), sizeof(TypeParam));
  EXPECT_NE(name_of(dtype_of<TypeParam>), "record");
  EXPECT_TRUE(fields_of<TypeParam>().empty());
}

TYPED_TEST(EveryDtype, HoldsTheSameElementsInEveryView) {
  Block block{{array<TypeParam>("before", {3}), array<TypeParam>("grid", {2, 3})}};
  Arrays arrays = block.arrays();
  const Arrays& constant = arrays;
  const auto one = TypeParam(1);

  arrays.matrix<TypeParam>("grid")(1, 2) = one;

  EXPECT_EQ(constant.matrix<TypeParam>("grid")(1, 2), one);
  EXPECT_EQ((arrays.tensor<TypeParam, 2>("grid")(1, 2)), one);
  EXPECT_EQ((constant.tensor<TypeParam, 2>("grid")(1, 2)), one);
  EXPECT_EQ(arrays.span<TypeParam>("grid")[5], one);
  EXPECT_EQ(constant.span<TypeParam>("grid")[5], one);
  EXPECT_EQ(constant.span<TypeParam>("grid")[4], TypeParam(0));
}

TYPED_TEST(EveryDtype, HoldsVectorsAndScalars) {
  Block block{{array<TypeParam>("line", {4}), array<TypeParam>("point", {})}};
  Arrays arrays = block.arrays();
  const Arrays& constant = arrays;
  const auto one = TypeParam(1);

  arrays.vector<TypeParam>("line")(3) = one;
  arrays.scalar<TypeParam>("point") = one;

  EXPECT_EQ(constant.vector<TypeParam>("line")(3), one);
  EXPECT_EQ(constant.scalar<TypeParam>("point"), one);
  EXPECT_EQ((constant.tensor<TypeParam, 0>("point")()), one);
  EXPECT_EQ(constant.span<TypeParam>("point").size(), 1U);
}

TEST(Dtype, IsTheSameForBothSixtyFourBitTypes) {
  EXPECT_EQ(dtype_of<long long>, Dtype::int64);
  EXPECT_EQ(dtype_of<long>, Dtype::int64);
  EXPECT_EQ(dtype_of<unsigned long long>, Dtype::uint64);
  EXPECT_EQ(dtype_of<unsigned long>, Dtype::uint64);
}

TEST(Dtype, NamesAreThoseOfTheDocumentation) {
  std::string names;
  for (int i = 0; i <= static_cast<int>(Dtype::record); ++i) {
    names += std::string{name_of(static_cast<Dtype>(i))} + " ";
  }
  EXPECT_EQ(names,
            "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64 "
            "complex64 complex128 record ");
}

TEST(Element, IsNoTypeWithoutADtype) {
  EXPECT_FALSE(Element<Undescribed>);
  EXPECT_FALSE(Element<std::string>);
  EXPECT_FALSE(Element<int*>);
  EXPECT_FALSE(Element<long double>);
  EXPECT_TRUE(Element<Particle>);
}

TEST(Record, FieldsFollowTheStruct) {
  const std::vector<Field> wanted{{"x", Dtype::float32, offsetof(Particle, x), 1},
                                  {"velocity", Dtype::float64, offsetof(Particle, velocity), 3},
                                  {"id", Dtype::int64, offsetof(Particle, id), 1}};
  const ArraySpec spec = array<Particle>("cloud", {10});

  EXPECT_EQ(spec.fields, wanted);
  EXPECT_EQ(spec.dtype, Dtype::record);
  EXPECT_EQ(spec.item_bytes, sizeof(Particle));
  EXPECT_EQ(spec.bytes(), 10 * sizeof(Particle));
}

TEST(Record, IsReadAndWrittenThroughASpan) {
  Block block{{array<Particle>("cloud", {10})}};
  Arrays arrays = block.arrays();

  arrays.span<Particle>("cloud")[9].velocity[2] = 4.5;

  const Arrays& constant = arrays;
  EXPECT_EQ(constant.span<Particle>("cloud")[9].velocity[2], 4.5);
}

TEST(Record, IsRefusedWhenItsFieldsDiffer) {
  Block block{{array<Pair>("pairs", {2})}};
  EXPECT_EQ(refusal<TypeError>([&] { static_cast<void>(block.arrays().span<SwappedPair>("pairs")); }),
            "array 'pairs' is record {first: float32 at 0, second: float32 at 4} of 8 bytes with shape (2); "
            "asked for as record {second: float32 at 0, first: float32 at 4} of 8 bytes");
}

TEST(Record, FieldPastItsEndIsRefused) {
  const ArraySpec spec{"broken", Dtype::record, {1}, 8, {{"far", Dtype::float64, 4, 1}}};
  EXPECT_EQ(refusal([&] { ArraysLayout{{spec}}; }),
            "array 'broken': field 'far' (1 of float64 at byte 4) ends past the record's 8 bytes");
}

TEST(Record, FieldCountBeyondAllBytesIsRefused) {
  const std::size_t most = std::numeric_limits<std::size_t>::max();
  const ArraySpec spec{"broken", Dtype::record, {1}, 8, {{"far", Dtype::float64, 0, most}}};
  EXPECT_THROW(ArraysLayout{{spec}}, Error);
}

TEST(Record, RepeatedNamelessAndNestedFieldsAreRefused) {
  const auto layout_of = [](std::vector<Field> fields) {
    return [fields] { ArraysLayout{{ArraySpec{"broken", Dtype::record, {1}, 8, fields}}}; };
  };
  EXPECT_EQ(refusal(layout_of({{"x", Dtype::int8, 0, 1}, {"x", Dtype::int8, 1, 1}})),
            "array 'broken': two fields are named 'x'");
  EXPECT_EQ(refusal(layout_of({{"", Dtype::int8, 0, 1}})), "array 'broken': field 0 has no name");
  EXPECT_EQ(refusal(layout_of({{"x", Dtype::record, 0, 1}})),
            "array 'broken': field 'x' is a record; name its own members instead");
}

TEST(Shape, TakesExtentsOfAnyIntegerType) {
  const int height = 3;
  const std::uint16_t width = 4;
  const Shape shape{height, width, std::size_t{5}};

  EXPECT_EQ(shape.rank(), 3U);
  EXPECT_EQ(shape.elements(), 60U);
  EXPECT_EQ(to_string(shape), "(3, 4, 5)");
  EXPECT_EQ(shape, (Shape{std::vector<std::size_t>{3, 4, 5}}));
  EXPECT_NE(shape, (Shape{3, 4}));
}

TEST(Shape, OfNoExtentsIsOneElement) {
  EXPECT_EQ(Shape{}.rank(), 0U);
  EXPECT_EQ(Shape{}.elements(), 1U);
  EXPECT_EQ(to_string(Shape{}), "()");
}

TEST(Shape, IsRefusedWhenAnExtentIsNegative) {
  int height = -3;
  EXPECT_EQ(refusal([&] { Shape{4, height}; }), "a shape with the extent -3; wanted 0 or more");
}

TEST(Shape, IsRefusedBeyondEightDimensions) {
  const std::vector<std::size_t> extents(9, 1);
  EXPECT_EQ(refusal([&] { Shape{extents}; }), "a shape of 9 dimensions; at most 8 are possible");
  EXPECT_FALSE((std::is_constructible_v<Shape, int, int, int, int, int, int, int, int, int>));
  EXPECT_EQ((Shape{1, 1, 1, 1, 1, 1, 1, 2}).elements(), 2U);
}

TEST(ArraySpec, StridesAreInBytesAndCOrder) {
  EXPECT_EQ(array<float>("a", {2, 3, 4}).strides(), (std::vector<std::ptrdiff_t>{48, 16, 4}));
  EXPECT_EQ(array<Particle>("a", {7}).strides(), (std::vector<std::ptrdiff_t>{sizeof(Particle)}));
  EXPECT_TRUE(array<float>("a", {}).strides().empty());
  EXPECT_EQ(array<float>("a", {0, 4}).strides(), (std::vector<std::ptrdiff_t>{16, 4}));
}

TEST(ArraySpec, NamesTheArrayWhenItsBytesOverflow) {
  const std::size_t large = std::size_t{1} << 32;
  EXPECT_EQ(refusal([&] {
              static_cast<void>(array<double>("huge", {large, large}).bytes());
            }),
            "array 'huge': float64 with shape (4294967296, 4294967296) needs more than the "
            "9223372036854775807 bytes that can be addressed; make its shape smaller");
  EXPECT_THROW(static_cast<void>(array<double>("huge", {0, large, large}).bytes()), Error);
  EXPECT_THROW(static_cast<void>(array<std::uint8_t>("huge", {large, large >> 1}).bytes()), Error);
}

TEST(ArraysLayout, PlacesEachArrayAtACacheLine) {
  const ArraysLayout layout{
      {array<std::uint8_t>("a", {1}), array<double>("b", {8}), array<float>("c", {17}), array<bool>("d", {})}};

  EXPECT_EQ(layout.offset(0), 0U);
  EXPECT_EQ(layout.offset(1), 64U);
  EXPECT_EQ(layout.offset(2), 128U);
  EXPECT_EQ(layout.offset(3), 256U);
  EXPECT_EQ(layout.bytes(), 320U);
  EXPECT_EQ(layout.find("c"), 2U);
  EXPECT_EQ(layout.find("e"), std::nullopt);
  EXPECT_EQ(layout.specs().size(), 4U);
}

TEST(ArraysLayout, IsEmptyWithoutElements) {
  EXPECT_EQ(ArraysLayout{{}}.bytes(), 0U);
  EXPECT_EQ((ArraysLayout{{array<float>("none", {0, 5}), array<float>("nothing", {0})}}.bytes()), 0U);
}

TEST(ArraysLayout, RefusesRepeatedAndEmptyNames) {
  EXPECT_EQ(refusal([] {
              ArraysLayout{{array<float>("a", {1}), array<int>("a", {2})}};
            }),
            "two arrays are named 'a'; give each its own name");
  EXPECT_EQ(refusal([] {
              ArraysLayout{{array<float>("a", {1}), array<int>("", {2, 2})}};
            }),
            "array 1 (int32 with shape (2, 2)) has no name; give it one");
}

TEST(ArraysLayout, RefusesElementsThatDoNotFitTheirDtype) {
  EXPECT_EQ(refusal([] {
              ArraysLayout{{ArraySpec{"a", Dtype::float32, {1}, 8, {}}}};
            }),
            "array 'a' is float32 with elements of 8 bytes; wanted 4");
  EXPECT_EQ(refusal([] {
              ArraysLayout{{ArraySpec{"a", Dtype::record, {1}, 0, {}}}};
            }),
            "array 'a' is record with elements of 0 bytes; wanted at least 1");
  EXPECT_EQ(refusal([] {
              ArraysLayout{{ArraySpec{"a", Dtype::int8, {1}, 1, {{"x", Dtype::int8, 0, 1}}}}};
            }),
            "array 'a' is int8 and has fields; only a record has them");
}

TEST(ArraysLayout, RefusesATotalThatOverflows) {
  const std::size_t half = std::size_t{1} << 62;
  EXPECT_EQ(refusal([&] {
              ArraysLayout{{array<std::uint8_t>("a", {half}), array<std::uint8_t>("b", {half})}};
            }),
            "array 'b' of 4611686018427387904 bytes after 4611686018427387904 bytes of other arrays: more than "
            "the 9223372036854775807 bytes that can be addressed; make the shapes smaller");
  const auto most = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());
  EXPECT_THROW((ArraysLayout{{array<std::uint8_t>("a", {most})}}), Error);
}

TEST(Arrays, ViewsAreAlignedToCacheLines) {
  Block block{{array<std::uint8_t>("a", {1}), array<double>("b", {2, 2})}};
  Arrays arrays = block.arrays();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arrays.data("b")) % 64, 0U);
  EXPECT_EQ(arrays.data("b"), arrays.base() + 64);
  EXPECT_EQ(static_cast<void*>(arrays.matrix<double>("b").data()), arrays.data("b"));
}

TEST(Arrays, GiveConstantViewsWhenConstant) {
  using Constant = const Arrays&;
  using std::declval;
  EXPECT_TRUE((std::is_same_v<decltype(declval<Constant>().span<int>("")), std::span<const int>>));
  EXPECT_TRUE((std::is_same_v<decltype(declval<Arrays&>().span<int>("")), std::span<int>>));
  EXPECT_TRUE((std::is_same_v<decltype(declval<Constant>().data("")), const std::byte*>));
  EXPECT_TRUE((std::is_same_v<decltype(declval<Constant>().scalar<int>("")), const int&>));
  EXPECT_TRUE((std::is_same_v<decltype(declval<Constant>().matrix<int>("").data()), const int*>));
  EXPECT_TRUE((std::is_same_v<decltype(declval<Constant>().vector<int>("").data()), const int*>));
  EXPECT_TRUE((std::is_same_v<decltype(declval<Constant>().tensor<int, 2>("").data()), const int*>));
  EXPECT_TRUE((std::is_same_v<decltype(declval<Arrays&>().matrix<int>("")),
                              Eigen::Map<Eigen::Matrix<int, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>,
                                         Eigen::Aligned64>>));
  EXPECT_TRUE((std::is_same_v<decltype(declval<Arrays&>().tensor<int, 3>("")),
                              Eigen::TensorMap<Eigen::Tensor<int, 3, Eigen::RowMajor>, Eigen::Aligned>>));
}

TEST(Arrays, ComputeWithEigenInPlace) {
  Block block{{array<double>("grid", {3, 5}), array<double>("line", {5}), array<float>("cube", {2, 3, 4})}};
  Arrays arrays = block.arrays();
  const auto line = arrays.span<double>("line");
  std::iota(line.begin(), line.end(), 1.0);

  arrays.matrix<double>("grid").rowwise() = arrays.vector<double>("line").transpose();
  arrays.tensor<float, 3>("cube").setConstant(2.0F);

  EXPECT_EQ(arrays.matrix<double>("grid").sum(), 45.0);
  EXPECT_EQ(arrays.span<double>("grid")[6], 2.0);  // row 1, column 1: C order
  EXPECT_EQ((arrays.tensor<float, 3>("cube").dimension(2)), 4);
  EXPECT_EQ(arrays.span<float>("cube")[23], 2.0F);
}

TEST(Arrays, AreEmptyViewsWhenAnExtentIsZero) {
  Block block{{array<float>("none", {0, 5}), array<float>("line", {0})}};
  Arrays arrays = block.arrays();

  EXPECT_TRUE(arrays.span<float>("none").empty());
  EXPECT_EQ(arrays.matrix<float>("none").rows(), 0);
  EXPECT_EQ(arrays.matrix<float>("none").cols(), 5);
  EXPECT_EQ(arrays.vector<float>("line").size(), 0);
  EXPECT_EQ((arrays.tensor<float, 2>("none").size()), 0);
}

TEST(Arrays, NeedNoMemoryWhenTheyHaveNoElements) {
  const ArraysLayout layout{{array<float>("none", {0, 5})}};
  Arrays arrays{layout, nullptr};
  EXPECT_TRUE(arrays.span<float>("none").empty());
  EXPECT_EQ((arrays.tensor<float, 2>("none").size()), 0);
}

TEST(Arrays, ListWhatTheyHold) {
  Block block = pixels_block();
  const Arrays arrays = block.arrays();

  EXPECT_EQ(arrays.size(), 2U);
  EXPECT_EQ(arrays.names(), (std::vector<std::string_view>{"pixels", "origins"}));
  EXPECT_EQ(arrays.spec("origins"), array<std::int32_t>("origins", {64, 2}));
}

TEST(Arrays, NameTheWantedAndTheFoundTypeWhenTheyDiffer) {
  Block block = pixels_block();
  Arrays arrays = block.arrays();
  EXPECT_EQ(refusal<TypeError>([&] { static_cast<void>(arrays.matrix<float>("pixels")); }),
            "array 'pixels' is uint8 with shape (64, 256, 256, 3); asked for as float32 with rank 2");
  EXPECT_EQ(refusal<TypeError>([&] { static_cast<void>(arrays.span<std::int8_t>("pixels")); }),
            "array 'pixels' is uint8 with shape (64, 256, 256, 3); asked for as int8");
}

TEST(Arrays, NameTheRankWhenItDiffers) {
  Block block = pixels_block();
  const Arrays arrays = block.arrays();
  const std::string found = "array 'origins' is int32 with shape (64, 2); asked for as int32 with rank ";
  EXPECT_EQ(refusal<TypeError>([&] { static_cast<void>(arrays.vector<std::int32_t>("origins")); }),
            found + "1");
  EXPECT_EQ(refusal<TypeError>([&] { static_cast<void>(arrays.scalar<std::int32_t>("origins")); }),
            found + "0");
  EXPECT_EQ(refusal<TypeError>([&] { static_cast<void>(arrays.tensor<std::int32_t, 3>("origins")); }),
            found + "3");
}

TEST(Arrays, NameTheNearestAndAllArraysWhenTheNameIsUnknown) {
  Block block = pixels_block();
  const Arrays arrays = block.arrays();
  EXPECT_EQ(refusal<TypeError>([&] { static_cast<void>(arrays.span<float>("pixles")); }),
            "no array is named 'pixles'; did you mean 'pixels'? arrays: 'pixels', 'origins'");
  EXPECT_EQ(refusal<TypeError>([&] { static_cast<void>(arrays.data("weights")); }),
            "no array is named 'weights'; arrays: 'pixels', 'origins'");
}

TEST(Arrays, RefuseEveryNameWhenEmpty) {
  const Arrays arrays;
  EXPECT_EQ(arrays.size(), 0U);
  EXPECT_TRUE(arrays.names().empty());
  EXPECT_EQ(refusal<TypeError>([&] { static_cast<void>(arrays.span<float>("pixels")); }),
            "no array is named 'pixels'; arrays: none");
}

TEST(ArraysDeathTest, AbortWhenTheBlockIsMisaligned) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const ArraysLayout layout{{array<float>("a", {1})}};
  EXPECT_DEATH(Arrays(layout, reinterpret_cast<std::byte*>(std::uintptr_t{4104})),
               "array.hpp:[0-9]+: broken invariant: .* \\(8 against 0\\): a block of arrays begins at");
}

TEST(Nearest, FindsTheWordWithinAThirdOfItsLetters) {
  const std::vector<std::string> known{"workers", "attempts", "placement"};
  EXPECT_EQ(nearest("worker", known), "workers");
  EXPECT_EQ(nearest("atempst", known), "attempts");
  EXPECT_EQ(nearest("PLACEMENT", known), "placement");
  EXPECT_EQ(nearest("colour", known), "");
  EXPECT_EQ(nearest("", known), "");
}

TEST(Nearest, IgnoresWordsOfAbsurdLength) {
  const std::vector<std::string> known{"workers", std::string(100'000, 'w')};
  EXPECT_EQ(nearest(std::string(1'000'000, 'w'), known), "");
  EXPECT_EQ(nearest("wokers", known), "workers");
}

TEST(ProducerError, TellsNodeMessageWorkerAndAttempt) {
  const ProducerError error{{"reader", 881, 3, 2, "no such tile"}};
  EXPECT_STREQ(error.what(), "node 'reader', message 881, worker 3, attempt 2: no such tile");
  EXPECT_EQ(error.node(), "reader");
  EXPECT_EQ(error.sequence(), 881U);
  EXPECT_EQ(error.worker(), 3);
  EXPECT_EQ(error.attempt(), 2);
  EXPECT_EQ(error.reason(), "no such tile");
  EXPECT_EQ(error.failure().reason, "no such tile");
  EXPECT_TRUE(std::is_nothrow_copy_constructible_v<ProducerError>);
}

TEST(ProducerError, LeavesOutTheWorkerWhenThereWasNone) {
  EXPECT_STREQ((ProducerError{{"sampler", 5, -1, 1, "ended badly"}}).what(),
               "node 'sampler', message 5, attempt 1: ended badly");
}

TEST(CheckDeathTest, PrintsExpressionValuesAndTextWhenBroken) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::size_t leases = 3;
  const int* nothing = nullptr;
  EXPECT_DEATH(
      TANDEM_CHECK(leases, ==, 4, "a lease was lost"),
      "runtime_array_test.cpp:[0-9]+: broken invariant: leases == 4 \\(3 against 4\\): a lease was lost");
  EXPECT_DEATH(TANDEM_CHECK(leases > 3, ==, true, std::string{"text"}), "\\(false against true\\): text");
  EXPECT_DEATH(TANDEM_CHECK(Dtype::int16, ==, Dtype::int32, "enums"), "\\(2 against 3\\): enums");
  EXPECT_DEATH(TANDEM_CHECK(nothing, !=, nullptr, "pointers"), "\\(0x0 against nullptr\\): pointers");
}

TEST(Check, EvaluatesEachOperandOnce) {
  int calls = 0;
  TANDEM_CHECK(++calls, ==, 1, "once");
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace tandem
