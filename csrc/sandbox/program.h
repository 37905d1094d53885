/* A judged program, as a module. */

#ifndef MEGATRON_CODEX_SANDBOX_PROGRAM_H
#define MEGATRON_CODEX_SANDBOX_PROGRAM_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define PROGRAM "solution" /* its name */

/* Run the program; sys.modules has it then, where dataclasses look theirs up. NULL and what it raised. */
PyObject *load_program(PyObject *source);

/* A new reference, or NULL and a NameError. */
PyObject *function_of(PyObject *module, PyObject *entry_point);

#endif
