/* The Python module megatron_codex.problems.tracing._tracer. */

#include "engines.h"
#include "forms.h"

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_tracer", "Engines in C, and forms of values.", -1,
                                    NULL, NULL, NULL, NULL, NULL};

static int add_methods(PyObject *module)
{
#ifdef HAS_ENGINES
    if (PyModule_AddFunctions(module, EVALUATOR_METHODS) != 0 || PyModule_AddFunctions(module, PROFILER_METHODS) != 0)
        return -1;
#endif
    return PyModule_AddFunctions(module, FORMS_METHODS);
}

PyMODINIT_FUNC PyInit__tracer(void)
{
    PyObject *module = PyModule_Create(&MODULE);
    if (module != NULL && (prepare_forms() != 0 || add_methods(module) != 0))
        Py_CLEAR(module);
    return module;
}
