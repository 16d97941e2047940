// One tower of a loss: its representations as they are compared, and their gradient.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <utility>

namespace gradcache {

class DenseTower;

// Some rows of a tower: where they are in the one that holds them.
struct DenseRows {
  DenseTower& tower;
  int64_t begin;
};

class Tower {
 public:
  // `representations` are [n, d], strided, or sparse (COO) with the entries by row. For the cosine, rows are
  // compared at length 1.
  static std::unique_ptr<Tower> of(const at::Tensor& representations, bool cosine);
  virtual ~Tower() = default;

  virtual int64_t rows() const = 0;
  // Whether all of its rows are those of DenseTowers; and which one has some that follow one another.
  virtual bool isDense() const { return false; }
  virtual DenseRows dense(int64_t begin, int64_t count);
  // The least and the greatest length of a row as it is compared. Waits for the device.
  virtual std::pair<double, double> lengths() const = 0;
  // Some rows as they are compared, [count, d]; not to be written.
  virtual at::Tensor compared(int64_t begin, int64_t count) const = 0;
  // How many rows may be compared at once, so that those of sparse towers take a set memory.
  virtual int64_t mostRows() const { return rows(); }

  // Adds a b, or factor * part, [count, d], to dL/d(rows as they are compared).
  virtual void addProduct(int64_t begin, const at::Tensor& a, const at::Tensor& b) = 0;
  virtual void add(int64_t begin, const at::Tensor& part, double factor) = 0;
  // dL/d(representations) times `weight`, once everything is added; of sparse rows that of their values. The
  // tower has no gradient afterwards.
  virtual at::Tensor takeGradient(double weight) = 0;
};

std::unique_ptr<Tower> denseTower(const at::Tensor& representations, bool cosine);
// Rows become dense only where they are compared. What is 0 has no gradient.
std::unique_ptr<Tower> sparseTower(const at::Tensor& representations, bool cosine);

constexpr double kLeastLength = 1e-12;  // what a row is divided by, at least, for the cosine

}  // namespace gradcache
