/* A frame evaluator (PEP 523) in front of the interpreter's own, that tells Python of the calls that matter. */

#ifndef MEGATRON_CODEX_TRACING_EVALUATOR_H
#define MEGATRON_CODEX_TRACING_EVALUATOR_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Methods of the Python module. */
extern PyMethodDef EVALUATOR_METHODS[];

#endif
