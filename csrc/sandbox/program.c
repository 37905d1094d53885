#include "program.h"

#include <string.h>

/* compile(source, ...), as builtins.compile does it. */
static PyObject *compile_program(PyObject *source)
{
    PyCompilerFlags flags = {PyCF_SOURCE_IS_UTF8 | PyCF_IGNORE_COOKIE, PY_MINOR_VERSION};
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(source, &size);
    if (text == NULL)
        return NULL;
    if (strlen(text) != (size_t)size) {
        PyErr_SetString(PyExc_ValueError, "source code string cannot contain null bytes");
        return NULL;
    }
    return Py_CompileStringExFlags(text, "<" PROGRAM ">", Py_file_input, &flags, -1);
}

PyObject *load_program(PyObject *source)
{
    PyObject *module = PyModule_New(PROGRAM);
    if (module == NULL || PyDict_SetItemString(PyImport_GetModuleDict(), PROGRAM, module) != 0 ||
        PyDict_SetItemString(PyModule_GetDict(module), "__builtins__", PyEval_GetBuiltins()) != 0)
        goto failed;
    PyObject *code = compile_program(source);
    PyObject *result =
        code == NULL ? NULL : PyEval_EvalCode(code, PyModule_GetDict(module), PyModule_GetDict(module));
    Py_XDECREF(code);
    Py_XDECREF(result);
    if (result != NULL)
        return module;
failed:
    Py_XDECREF(module);
    return NULL;
}

/* Of "function", or of "Class.method". */
PyObject *function_of(PyObject *module, PyObject *entry_point)
{
    PyObject *dot = PyUnicode_FromString("."), *names = dot == NULL ? NULL : PyUnicode_Split(entry_point, dot, -1);
    Py_XDECREF(dot);
    if (names == NULL)
        return NULL;
    PyObject *name = PyList_GET_ITEM(names, 0);
    PyObject *function = PyDict_GetItemWithError(PyModule_GetDict(module), name);
    if (function == NULL && !PyErr_Occurred())
        PyErr_Format(PyExc_NameError, "name %R is not defined", name);
    Py_XINCREF(function);
    for (Py_ssize_t i = 1; function != NULL && i < PyList_GET_SIZE(names); i++) {
        PyObject *holder = function;
        function = PyObject_GetAttr(holder, PyList_GET_ITEM(names, i));
        Py_DECREF(holder);
    }
    Py_DECREF(names);
    return function;
}
