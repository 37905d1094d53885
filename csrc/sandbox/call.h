/* A call of the function under test: {"args", "kwargs"}, and of a tester {"function": 0, ..., "objects": []}. */

#ifndef MEGATRON_CODEX_SANDBOX_CALL_H
#define MEGATRON_CODEX_SANDBOX_CALL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "tagged.h"

enum { MAX_ARGUMENTS = 32 };

struct argument {
    PyObject *value;
    const char *form; /* as it came */
    size_t form_bytes;
};

/* A call whose arguments are common values. The first num_args are positional, names holds those of the others. */
struct call {
    const char *text;
    Py_ssize_t text_bytes;
    struct argument arguments[MAX_ARGUMENTS];
    int num_arguments, num_args;
    PyObject *names; /* tuple, or NULL */
};

/* 0; or -1, with an exception or without, when the call is not of this kind or a value is not common: forget() it still. */
int read_call(struct text text, struct call *call);

/* What the function returns, or NULL and what it raised. */
PyObject *make_call(PyObject *function, const struct call *call);

void forget(struct call *call);

#endif
