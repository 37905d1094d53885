/* The tester's side of its channels (megatron_codex/sandbox/tester.py, remote.py): what it sends, and what the driver, whom
   it trusts, sends it. Of a candidate's answers nothing is read here: their bytes come as they are. */

#ifndef MEGATRON_CODEX_SANDBOX_TESTER_H
#define MEGATRON_CODEX_SANDBOX_TESTER_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Methods of the Python module. */
extern PyMethodDef TESTER_METHODS[];

#endif
