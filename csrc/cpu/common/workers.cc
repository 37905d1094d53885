#include "workers.h"

#if defined(__linux__)
#include <dlfcn.h>
#endif

namespace codex {
namespace {

// GNU's interface to compilers (libgomp.map, GOMP_4.0) and OpenMP's own.
using Parallel = void (*)(void (*function)(void*), void* data, unsigned num_threads, unsigned flags);
using Count = int (*)();

struct OpenMp {
  Parallel parallel;
  Count number;
  Count count;
};

// Looked for, not loaded: a second copy of the library would have threads of its own.
bool find(OpenMp* found) {
#if defined(__linux__)
  void* const library = dlopen("libgomp.so.1", RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return false;
  found->parallel = reinterpret_cast<Parallel>(dlsym(library, "GOMP_parallel"));
  found->number = reinterpret_cast<Count>(dlsym(library, "omp_get_thread_num"));
  found->count = reinterpret_cast<Count>(dlsym(library, "omp_get_num_threads"));
  dlclose(library);  // whoever loaded it holds it
  return found->parallel != nullptr && found->number != nullptr && found->count != nullptr;
#else
  return false;
#endif
}

struct Team {
  OpenMp openmp;
  void (*body)(void* data, int number, int count);
  void* data;
};

}  // namespace

bool on_openmp(int num_threads, void (*body)(void* data, int number, int count), void* data) {
  Team team{{}, body, data};
  if (!find(&team.openmp)) return false;
  const auto run = [](void* given) {
    const Team& its = *static_cast<Team*>(given);
    its.body(its.data, its.openmp.number(), its.openmp.count());
  };
  team.openmp.parallel(run, &team, static_cast<unsigned>(num_threads), 0);
  return true;
}

}  // namespace codex
