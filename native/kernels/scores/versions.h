// What scores.cc chooses from.
#pragma once

#include "kernels/scores/scores.h"

namespace gradcache::kernels {

namespace cuda {
bool takesScores(const Scores& scores);
decltype(kernels::addScoreSums) addScoreSums;
decltype(kernels::scoreProbabilities) scoreProbabilities;
decltype(kernels::scoreSigmoids) scoreSigmoids;
}  // namespace cuda
namespace composite {
decltype(kernels::addScoreSums) addScoreSums;
decltype(kernels::scoreProbabilities) scoreProbabilities;
decltype(kernels::scoreSigmoids) scoreSigmoids;
}  // namespace composite

}  // namespace gradcache::kernels
