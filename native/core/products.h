// In which precision float32 matrices are multiplied on a GPU.
#pragma once

namespace gradcache {

enum class Products {
  kExact,  // in float32
  kTf32,   // their elements rounded to tf32, which has ten bits of fraction; sums in float32
};

// For its life, products of this thread are such.
//
// libtorch has one switch for the process, which is on while any thread computes in tf32, and lets a thread
// keep its products exact all the same: engines do (see keepProductsExact), and recorded backward passes.
// What is left is a graph of libtorch's own operators that runs backward on another GPU of the process
// meanwhile.
class ProductScope {
 public:
  explicit ProductScope(Products products);
  ~ProductScope();
  ProductScope(const ProductScope&) = delete;
  ProductScope& operator=(const ProductScope&) = delete;

  static Products current();

 private:
  Products products_;
  Products before_;
  bool wasKept_;
};

// From now on, products of this thread are exact outside of scopes, whatever other threads do.
void keepProductsExact();

}  // namespace gradcache
