// MPNet's attention bias: a learned number per head and bucket of distance (T5's buckets, Raffel et al.
// 2020, 2.1).
#pragma once

#include <ATen/ATen.h>

namespace gradcache {

// int64 [2 * longest - 1]: the bucket of key position - query position, from -(longest - 1) on.
at::Tensor distanceBuckets(int64_t longest, int64_t buckets, at::Device device);

}  // namespace gradcache
