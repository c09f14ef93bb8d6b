#pragma once

#include <Eigen/Core>

namespace simulation {

/// Two substances that diffuse and react on a square that is closed to a torus, from a few drops to spots and stripes.
/// Method  the model of Gray and Scott with the figures of Pearson, "Complex patterns in a simple system", Science 261
///         (1993); explicit Euler, five-point Laplacian, one cell and one unit of time for a step.
class Solver {
 public:
  static constexpr int kPitch =
      32;  // cells from one drop to the next; further off, the field would be denormal

 private:
  // With a border of one cell.
  using Field = Eigen::Array<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  template <class Any>
  auto inner(Any& field) const {
    return field.block(1, 1, cells_, cells_);
  }
  auto laplacian(const Field& field) const {
    return field.block(0, 1, cells_, cells_) + field.block(2, 1, cells_, cells_) +
           field.block(1, 0, cells_, cells_) + field.block(1, 2, cells_, cells_) - 4.0F * inner(field);
  }
  // The border takes the other side's cells.
  void wrap(Field& field) const {
    field.row(0) = field.row(cells_);
    field.row(cells_ + 1) = field.row(1);
    field.col(0) = field.col(cells_);
    field.col(cells_ + 1) = field.col(1);
  }

 public:
  /// cells  along each side, a multiple of kPitch
  explicit Solver(int cells) : cells_{cells} {
    u_.setOnes(cells + 2, cells + 2);
    v_.setZero(cells + 2, cells + 2);
    next_u_ = u_;
    next_v_ = v_;
    for (int row = 0; row < cells; row += kPitch) {
      for (int column = 0; column < cells; column += kPitch) {
        const int shift = (3 * row + 5 * column) / kPitch % 11;  // so that it does not stay regular
        u_.block(row + 8 + shift, column + 19 - shift, 8, 8).setConstant(0.5F);
        v_.block(row + 8 + shift, column + 19 - shift, 8, 8).setConstant(0.25F);
      }
    }
  }

  void advance() {
    wrap(u_);
    wrap(v_);
    constexpr float kFeed = 0.037F;
    constexpr float kKill = 0.06F;
    const auto u = inner(u_);
    const auto v = inner(v_);
    inner(next_u_) = u + 0.2F * laplacian(u_) - u * v.square() + kFeed * (1.0F - u);
    inner(next_v_) = v + 0.1F * laplacian(v_) + u * v.square() - (kFeed + kKill) * v;
    u_.swap(next_u_);
    v_.swap(next_v_);
  }

  /// The second substance.
  auto field() const { return inner(v_); }

 private:
  int cells_;
  Field u_, v_, next_u_, next_v_;
};

}  // namespace simulation
