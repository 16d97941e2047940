#include "binding/convert.h"

#include <cmath>

#include "binding/tensor.h"
#include "binding/tensor_list.h"
#include "core/dtype.h"
#include "core/error.h"

namespace gradcache::binding {

namespace {

using Kind = c10::TypeKind;

// A list from JavaScript may claim to have 2^32 - 1 elements without having one.
constexpr uint32_t kMostElements = 1u << 20;

[[noreturn]] void refuse(const c10::Argument& argument, const c10::Type& type) {
  fail("OPERATOR", "argument '", argument.name(), "' must be ", type.str());
}

int64_t layoutFromName(const std::string& name) {
  require(name == "strided", "OPERATOR", "layout '", name, "' is not supported; use 'strided'");
  return static_cast<int64_t>(c10::Layout::Strided);
}

int64_t memoryFormatFromName(const std::string& name) {
  if (name == "contiguous") return static_cast<int64_t>(c10::MemoryFormat::Contiguous);
  if (name == "preserve") return static_cast<int64_t>(c10::MemoryFormat::Preserve);
  if (name == "channels_last") return static_cast<int64_t>(c10::MemoryFormat::ChannelsLast);
  if (name == "channels_last_3d") return static_cast<int64_t>(c10::MemoryFormat::ChannelsLast3d);
  fail("OPERATOR", "memory format '", name,
       "' is unknown; use contiguous, preserve, channels_last or channels_last_3d");
}

// The schema says `int` for element types, layouts and memory formats; the real type tells them apart.
const c10::Type& realType(const c10::Argument& argument) {
  const c10::Type* real = argument.real_type().get();
  while (real->kind() == Kind::OptionalType)
    real = real->castRaw<c10::OptionalType>()->getElementType().get();
  return *real;
}

bool isEnumerator(const c10::Type& type) {
  return type.kind() == Kind::LayoutType || type.kind() == Kind::MemoryFormatType ||
         type.kind() == Kind::ScalarTypeType;
}

// Only names are accepted: libtorch does not check an enumerator's number, and would read beyond its tables.
int64_t enumerator(const Napi::Value& value, const c10::Argument& argument) {
  const c10::Type& type = realType(argument);
  if (!value.IsString()) refuse(argument, type);
  const std::string name = value.As<Napi::String>();
  if (type.kind() == Kind::LayoutType) return layoutFromName(name);
  if (type.kind() == Kind::MemoryFormatType) return memoryFormatFromName(name);
  return static_cast<int64_t>(dtypeFromName(name));
}

int64_t bigInteger(const Napi::Value& value, const c10::Argument& argument) {
  bool lossless = false;
  int64_t number = value.As<Napi::BigInt>().Int64Value(&lossless);
  require(lossless, "OPERATOR", "argument '", argument.name(), "' does not fit 64 bits");
  return number;
}

// Whether a JavaScript number stands for an integer: JavaScript itself does not tell 1.0 from 1.
bool isInteger(double number) {
  return number == std::floor(number) && std::abs(number) <= 9007199254740991.0;
}

int64_t integer(const Napi::Value& value, const c10::Argument& argument, const c10::Type& type) {
  if (isEnumerator(realType(argument))) return enumerator(value, argument);
  if (value.IsBoolean()) return value.As<Napi::Boolean>().Value() ? 1 : 0;
  if (value.IsBigInt()) return bigInteger(value, argument);
  if (!value.IsNumber()) refuse(argument, type);
  double number = value.As<Napi::Number>().DoubleValue();
  require(isInteger(number), "OPERATOR", "argument '", argument.name(), "' = ", number,
          " must be an integer");
  return static_cast<int64_t>(number);
}

double real(const Napi::Value& value, const c10::Argument& argument, const c10::Type& type) {
  if (!value.IsNumber()) refuse(argument, type);
  return value.As<Napi::Number>().DoubleValue();
}

bool isNegativeZero(double number) { return number == 0 && std::signbit(number); }

// A number without a fraction becomes an integer, so that adding 1 leaves an integer tensor integer. No
// integer stands for -0.
at::Scalar scalar(const Napi::Value& value, const c10::Argument& argument, const c10::Type& type) {
  if (value.IsBoolean()) return value.As<Napi::Boolean>().Value();
  if (value.IsBigInt()) return bigInteger(value, argument);
  const double number = real(value, argument, type);
  if (isInteger(number) && !isNegativeZero(number)) return static_cast<int64_t>(number);
  return number;
}

// As in PyTorch, a number stands for a tensor without dimensions that does not decide the result's type.
at::Tensor wrappedNumber(const at::Scalar& number) {
  at::Tensor wrapped = at::scalar_tensor(number, number.type());
  wrapped.unsafeGetTensorImpl()->set_wrapped_number(true);
  return wrapped;
}

bool isWrappedNumber(const c10::IValue& value) {
  return value.isTensor() && value.toTensor().defined() &&
         value.toTensor().unsafeGetTensorImpl()->is_wrapped_number();
}

// Whether tensors are among the arguments, and all of them hold integers.
bool integersAlone(const torch::jit::Stack& arguments) {
  bool some = false;
  const auto holdsIntegers = [&some](const at::Tensor& tensor) {
    some = true;
    return !tensor.defined() || c10::isIntegralType(tensor.scalar_type(), /*includeBool=*/true);
  };
  for (const c10::IValue& value : arguments) {
    if (value.isTensor() && !isWrappedNumber(value) && !holdsIntegers(value.toTensor())) return false;
    if (value.isTensorList())
      for (const at::Tensor& tensor : value.toTensorVector())
        if (!holdsIntegers(tensor)) return false;
  }
  return some;
}

c10::IValue convert(const Napi::Value& value, const c10::Type& type, const c10::Argument& argument);

c10::IValue list(const Napi::Value& value, const c10::Type& type, const c10::Argument& argument) {
  c10::TypePtr element = type.castRaw<c10::ListType>()->getElementType();
  if (element->kind() == Kind::TensorType && TensorListHandle::is(value))
    return c10::List<at::Tensor>(TensorListHandle::get(value, argument.name().c_str()));
  // Unboxing takes plain integers for symbolic ones, but not an untyped list of them.
  c10::impl::GenericList result(element->kind() == Kind::SymIntType ? c10::TypePtr(c10::IntType::get())
                                                                    : element);
  if (value.IsArray()) {
    auto array = value.As<Napi::Array>();
    const uint32_t length = array.Length();
    require(length <= kMostElements, "OPERATOR", "argument '", argument.name(), "' has ", length,
            " elements; a list has at most ", kMostElements);
    for (uint32_t k = 0; k < length; ++k) {
      Napi::HandleScope scope(value.Env());
      result.push_back(convert(array.Get(k), *element, argument));
    }
  } else {
    // ATen's schemas let one number stand for a list of a fixed length: int[2] stride=1.
    int32_t repeats = argument.N().value_or(0);
    if (repeats == 0 || value.IsObject()) refuse(argument, type);
    c10::IValue one = convert(value, *element, argument);
    for (int32_t k = 0; k < repeats; ++k) result.push_back(one);
  }
  return result;
}

c10::IValue convert(const Napi::Value& value, const c10::Type& type, const c10::Argument& argument) {
  const std::string& name = argument.name();
  switch (type.kind()) {
    case Kind::OptionalType:
      if (value.IsNull() || value.IsUndefined()) return {};
      return convert(value, *type.castRaw<c10::OptionalType>()->getElementType(), argument);
    case Kind::TensorType:
      if (value.IsNumber() || value.IsBoolean() || value.IsBigInt())
        return wrappedNumber(scalar(value, argument, type));
      return TensorHandle::get(value, ("argument '" + name + "'").c_str());
    case Kind::IntType:
    case Kind::SymIntType:
      return integer(value, argument, type);
    case Kind::FloatType:
    case Kind::SymFloatType:
      return real(value, argument, type);
    case Kind::BoolType:
    case Kind::SymBoolType:
      if (!value.IsBoolean()) refuse(argument, type);
      return value.As<Napi::Boolean>().Value();
    case Kind::NumberType:
      return scalar(value, argument, type);
    case Kind::StringType:
      if (!value.IsString()) refuse(argument, type);
      return value.As<Napi::String>().Utf8Value();
    case Kind::DeviceObjType:
      if (!value.IsString()) refuse(argument, type);
      return deviceFromName(value.As<Napi::String>());
    case Kind::GeneratorType:
      fail("OPERATOR", "argument '", name,
           "' takes a generator: leave it out and set the random state with withSeed()");
    case Kind::ListType:
      return list(value, type, argument);
    default:
      fail("OPERATOR", "argument '", name, "' has type ", type.str(),
           ", which cannot be given from JavaScript");
  }
}

// A BigInt where a number would round.
Napi::Value fromInteger(Napi::Env env, int64_t integer) {
  const auto number = static_cast<double>(integer);
  if (isInteger(number)) return Napi::Number::New(env, number);
  return Napi::BigInt::New(env, integer);
}

}  // namespace

c10::IValue toIValue(const Napi::Value& value, const c10::Argument& argument) {
  return convert(value, *argument.type(), argument);
}

void negativeZerosBesideIntegers(const c10::FunctionSchema& schema, torch::jit::Stack& arguments) {
  if (!integersAlone(arguments)) return;
  for (size_t k = 0; k < arguments.size(); ++k) {
    c10::IValue& value = arguments[k];
    const c10::Type* type = schema.arguments()[k].type().get();
    if (type->kind() == Kind::OptionalType) type = type->castRaw<c10::OptionalType>()->getElementType().get();
    if (type->kind() == Kind::NumberType && value.isDouble() && isNegativeZero(value.toDouble()))
      value = int64_t{0};
    if (isWrappedNumber(value) && value.toTensor().scalar_type() == at::kDouble &&
        isNegativeZero(value.toTensor().item<double>()))
      value = wrappedNumber(int64_t{0});
  }
}

Napi::Value fromIValue(Napi::Env env, const c10::IValue& value) {
  if (value.isNone()) return env.Null();
  if (value.isTensor())
    return value.toTensor().defined() ? Napi::Value(TensorHandle::wrap(env, value.toTensor())) : env.Null();
  if (value.isInt()) return fromInteger(env, value.toInt());
  if (value.isDouble()) return Napi::Number::New(env, value.toDouble());
  if (value.isBool()) return Napi::Boolean::New(env, value.toBool());
  if (value.isString()) return Napi::String::New(env, value.toStringRef());
  if (value.isDevice()) return Napi::String::New(env, value.toDevice().str());
  if (value.isComplexDouble())
    fail("OPERATOR", "the result is a complex number, which JavaScript does not have; keep it in a tensor");
  if (value.isList() || value.isTuple()) {
    auto array = Napi::Array::New(env);
    uint32_t k = 0;
    if (value.isTuple()) {
      for (const c10::IValue& element : value.toTupleRef().elements())
        array.Set(k++, fromIValue(env, element));
    } else {
      for (const c10::IValue& element : value.toListRef()) array.Set(k++, fromIValue(env, element));
    }
    return array;
  }
  fail("OPERATOR", "a result of type ", value.tagKind(), " cannot be given to JavaScript");
}

}  // namespace gradcache::binding
