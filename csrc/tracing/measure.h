/* Whether a value is plain data of modest size, told without an allocation and without any code of its own. */

#ifndef MEGATRON_CODEX_TRACING_MEASURE_H
#define MEGATRON_CODEX_TRACING_MEASURE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern const char measure_doc[];
PyObject *measure(PyObject *module, PyObject *args);

#endif
