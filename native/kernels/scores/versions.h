// What scores.cc chooses from.
#pragma once

#include "kernels/scores/scores.h"

namespace gradcache::kernels {

namespace cuda {
bool takesScores(const Scores& scores);
decltype(kernels::addScoreSums) addScoreSums;
decltype(kernels::scoreProbabilities) scoreProbabilities;
}  // namespace cuda
namespace composite {
decltype(kernels::addScoreSums) addScoreSums;
decltype(kernels::scoreProbabilities) scoreProbabilities;
}  // namespace composite

}  // namespace gradcache::kernels
