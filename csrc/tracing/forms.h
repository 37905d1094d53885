/* Values of modest size as the text of their tagged form: the common cases of tracing/forms.py, which defines all. */

#ifndef MEGATRON_CODEX_TRACING_FORMS_H
#define MEGATRON_CODEX_TRACING_FORMS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Methods of the Python module. */
extern PyMethodDef FORMS_METHODS[];

/* 0, or -1 with an exception. */
int prepare_forms(void);

#endif
