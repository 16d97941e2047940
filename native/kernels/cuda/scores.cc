#include "kernels/cuda/scores.h"

namespace gradcache::kernels::cuda {

GradcacheScores describe(const Scores& scores) {
  GradcacheScores s = {};
  s.type = scores.rows.scalar_type() == at::kHalf ? GRADCACHE_FLOAT16 : GRADCACHE_BFLOAT16;
  s.rows = input(scores.rows);
  s.columns = input(scores.columns);
  s.rowCount = scores.rows.size(0);
  s.columnCount = scores.columns.size(0);
  s.width = scores.rows.size(1);
  s.rowStride = scores.rows.stride(0);
  s.columnStride = scores.columns.stride(0);
  s.factor = scores.factor;
  s.bound = static_cast<float>(scores.bound);
  s.leavesOut = scores.leftOut.has_value();
  s.leftOut = scores.leftOut.value_or(0);
  if (scores.targets.defined()) {
    s.targets = scores.targets.const_data_ptr<int32_t>();
    s.targetCount = static_cast<int32_t>(scores.targets.size(0));
    s.targetStride = scores.targets.stride(0);
  }
  s.firstColumn = scores.firstColumn;
  s.stream = currentStream(scores.rows.device());
  return s;
}

}  // namespace gradcache::kernels::cuda
