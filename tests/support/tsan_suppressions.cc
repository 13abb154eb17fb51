// What ThreadSanitizer cannot judge. Linked into every test of the preset `tsan`, so that it holds for a test run by hand, too.
extern "C" const char* __tsan_default_suppressions();

// cpp-httplib is a shared library that is not instrumented: a thread that finds one of its function-local statics built already
// passes the guard with a plain load, which ThreadSanitizer does not see, and the memcmp() that follows looks like a race with
// the building (the set of methods, in the parsing of a request line). Only what the library itself passes to intercepted functions is
// left out; races of zerotap's code that a handler runs are still found.
extern "C" const char* __tsan_default_suppressions() {
  return "called_from_lib:libcpp-httplib.so\n";
}
