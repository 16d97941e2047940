// What embedding.cc chooses from.
#pragma once

#include "kernels/embedding/embedding.h"

namespace gradcache::kernels {

namespace cuda {
decltype(kernels::embed) embed;
decltype(kernels::embedBackward) embedBackward;
}  // namespace cuda
namespace composite {
decltype(kernels::embed) embed;
decltype(kernels::embedBackward) embedBackward;
}  // namespace composite

}  // namespace gradcache::kernels
