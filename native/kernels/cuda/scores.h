// A rectangle of scores as the library of CUDA kernels sees it.
#pragma once

#include "kernels/cuda/rows.h"
#include "kernels/scores/scores.h"

namespace gradcache::kernels::cuda {

GradcacheScores describe(const Scores& scores);

}  // namespace gradcache::kernels::cuda
