// Functions that the compiler's C++ library would take from the newest libstdc++ and glibc. With its own
// copies the addon opens wherever libtorch does (glibc 2.28 and the libstdc++ of its time). If newer systems
// still have a function `f` under an older version, that one is used: CMakeLists.txt links calls of `f` to
// `__wrap_f`.

// Declared before any header declares them for everyone to see.
extern "C" __attribute__((visibility("hidden"))) char __libc_single_threaded;
namespace std {
[[noreturn]] __attribute__((visibility("hidden"))) void __throw_bad_array_new_length();
}

#include <condition_variable>
#include <mutex>
#include <new>
#include <sstream>

#if defined(__GLIBCXX__)

// Since GCC 11, reference counts ask glibc 2.32 whether the process has one thread. It never has: Node.js
// brings several.
char __libc_single_threaded = 0;

// Since GCC 11; new[] calls it for a negative length.
namespace std {
void __throw_bad_array_new_length() { throw bad_array_new_length(); }
}  // namespace std

// Since GCC 11, for C++20. The header says that libstdc++ has it; it is defined here all the same.
#if __cplusplus >= 202002L && _GLIBCXX_USE_CXX11_ABI
template std::string std::basic_stringbuf<char>::str() const&;
#endif

#endif

#if defined(__x86_64__)

__asm__(".symver gradcache_old_exp, exp@GLIBC_2.2.5");
__asm__(".symver gradcache_old_log, log@GLIBC_2.2.5");
__asm__(".symver gradcache_old_log2, log2@GLIBC_2.2.5");
__asm__(
    ".symver gradcache_old_wait, _ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE@GLIBCXX_3.4.11");

extern "C" {
double gradcache_old_exp(double);
double gradcache_old_log(double);
double gradcache_old_log2(double);
void gradcache_old_wait(std::condition_variable*, std::unique_lock<std::mutex>&);

// glibc 2.29: the same values, without setting errno.
double __wrap_exp(double x) { return gradcache_old_exp(x); }
double __wrap_log(double x) { return gradcache_old_log(x); }
double __wrap_log2(double x) { return gradcache_old_log2(x); }

// GCC 12: the same function, declared noexcept.
void __wrap__ZNSt18condition_variable4waitERSt11unique_lockISt5mutexE(std::condition_variable* condition,
                                                                      std::unique_lock<std::mutex>& lock) {
  gradcache_old_wait(condition, lock);
}
}

#endif
