// Counts every allocation of a test program, below operator new. Include it in one source of a program only.
//
// Under sanitizers, which bring a malloc of their own, ZEROTAP_COUNTS_MALLOC is 0 and nothing is counted.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ZEROTAP_COUNTS_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ZEROTAP_COUNTS_MALLOC 0
#endif
#endif
#ifndef ZEROTAP_COUNTS_MALLOC
#define ZEROTAP_COUNTS_MALLOC 1
#endif

namespace zerotap::testing {
// Of all threads; the tests that look at it have one.
inline size_t g_mallocs = 0;
}  // namespace zerotap::testing

#if ZEROTAP_COUNTS_MALLOC
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* memory, size_t size);
void* malloc(size_t size) {
  ++zerotap::testing::g_mallocs;
  return __libc_malloc(size);
}
void* calloc(size_t count, size_t size) {
  ++zerotap::testing::g_mallocs;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, size_t size) {
  ++zerotap::testing::g_mallocs;
  return __libc_realloc(memory, size);
}
}
#endif
