/* The candidate's side of a channel (megatron_codex/sandbox/candidate.py): calls in, answers out. */

#ifndef MEGATRON_CODEX_SANDBOX_CANDIDATE_H
#define MEGATRON_CODEX_SANDBOX_CANDIDATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Methods of the Python module. */
extern PyMethodDef CANDIDATE_METHODS[];

#endif
