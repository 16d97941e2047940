#include <array>

#include "kernels/heads/versions.h"
#include "kernels/operators/arguments.h"
#include "kernels/rows/rows.h"

namespace gradcache::kernels::composite {

namespace {

// [T, heads, size], a view.
at::Tensor headsOf(const at::Tensor& rows, const HeadLayout& layout) {
  return rows.view({rows.size(0), -1, layout.size});
}

// Turns heads [T, n, size] in place, back with `sign` -1.
void turn(const at::Tensor& heads, const Rotation& rotation, double sign) {
  const int64_t pairs = rotation.cosines.size(1);
  const at::Tensor cosines = rotation.cosines.index_select(0, rotation.positions).unsqueeze(1),
                   sines = rotation.sines.index_select(0, rotation.positions).unsqueeze(1).mul(sign);
  const at::Tensor first = heads.narrow(2, 0, pairs), second = heads.narrow(2, pairs, pairs);
  const at::Tensor a = first.to(cosines.scalar_type()), b = second.to(cosines.scalar_type());
  const at::Tensor turned = a.mul(cosines).sub(b.mul(sines));
  second.copy_(b.mul(cosines).add(a.mul(sines)));
  first.copy_(turned);
}

struct Normalized {
  at::Tensor rows, inverse;  // in the wide type
};

Normalized normalized(const at::Tensor& heads, double epsilon) {
  const at::Tensor wide = heads.to(wideType(heads));
  const at::Tensor inverse = wide.square().mean({2}, true).add_(epsilon).rsqrt_();
  return {wide.mul(inverse), inverse};
}

// The heads that a norm's scale belongs to.
struct Normed {
  at::Tensor scale, gradient;
  int64_t first, count;
};

std::array<Normed, 2> normedHeads(const HeadLayout& layout, const HeadNorms& norms,
                                  const at::Tensor& queryGradient, const at::Tensor& keyGradient) {
  return {Normed{norms.query, queryGradient, 0, layout.queries},
          Normed{norms.key, keyGradient, layout.queries, layout.keys}};
}

}  // namespace

HeadRows preparedHeads(const at::Tensor& qkv, const HeadLayout& layout, const HeadNorms& norms,
                       const Rotation& rotation) {
  const at::Tensor rows = norms.any() ? qkv.clone() : qkv;
  const at::Tensor heads = headsOf(rows, layout);
  if (norms.any()) {
    for (const Normed& part : normedHeads(layout, norms, {}, {})) {
      const at::Tensor own = heads.narrow(1, part.first, part.count);
      const at::Tensor normal = normalized(own, norms.epsilon).rows;
      own.copy_(normal.mul(part.scale.to(normal.scalar_type()).add(norms.offset)));
    }
  }
  if (rotation.any()) turn(heads.narrow(1, 0, layout.queries + layout.keys), rotation, 1);
  return HeadRows::in(rows, layout.valueColumns());
}

at::Tensor preparedHeadsBackward(const at::Tensor& dprepared, const at::Tensor& qkv, const HeadLayout& layout,
                                 const HeadNorms& norms, const Rotation& rotation,
                                 const at::Tensor& queryGradient, const at::Tensor& keyGradient) {
  const at::Tensor gradients = headsOf(dprepared, layout);
  if (rotation.any()) turn(gradients.narrow(1, 0, layout.queries + layout.keys), rotation, -1);
  if (!norms.any()) return dprepared;
  const at::Tensor heads = headsOf(qkv, layout);
  for (const Normed& part : normedHeads(layout, norms, queryGradient, keyGradient)) {
    const at::Tensor own = gradients.narrow(1, part.first, part.count);
    const auto [normal, inverse] = normalized(heads.narrow(1, part.first, part.count), norms.epsilon);
    const at::Tensor dy = own.to(normal.scalar_type());
    if (part.gradient.defined()) addColumnSum(part.gradient, dy.mul(normal).view({-1, layout.size}));
    const at::Tensor dnormal = dy.mul(part.scale.to(normal.scalar_type()).add(norms.offset));
    own.copy_(dnormal.sub(normal.mul(dnormal.mul(normal).mean({2}, true))).mul_(inverse));
  }
  return dprepared;
}

}  // namespace gradcache::kernels::composite
