/* The engines in C: of Python 3.11 only, since later ones have sys.monitoring. */

#ifndef MEGATRON_CODEX_TRACING_ENGINES_H
#define MEGATRON_CODEX_TRACING_ENGINES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX >= 0x030B0000 && PY_VERSION_HEX < 0x030C0000
#define HAS_ENGINES
#endif

/* Methods of the Python module. */
extern PyMethodDef EVALUATOR_METHODS[], PROFILER_METHODS[];

#endif
