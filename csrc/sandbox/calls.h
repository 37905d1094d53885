/* A candidate's side of its channel (megatron_codex/sandbox/candidate.py): frames in, calls made, answers out. */

#ifndef MEGATRON_CODEX_SANDBOX_CALLS_H
#define MEGATRON_CODEX_SANDBOX_CALLS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The methods of the Python module. */
extern PyMethodDef CALLS_METHODS[];

/* Before there is any program; adds the name of its module. 0, or -1 with an exception. */
int prepare_calls(PyObject *module);

#endif
