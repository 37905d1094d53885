/* As tracing/calls.py's _measure, which is the definition, for the exact builtin types. */

#include "measure.h"

const char measure_doc[] = "measure(value, (items, characters, depth, bits)): None for plain data within these limits, the\n"
                           "fault for what exceeds them, \"\" where a value is of another type and Python has to look.";

struct left {
    int items, characters, depth, bits;
};

static const char *measure_value(PyObject *value, int depth, struct left *left);

static const char *measure_items(PyObject **items, Py_ssize_t count, int depth, struct left *left)
{
    const char *fault = NULL;
    for (Py_ssize_t i = 0; i < count && fault == NULL; i++)
        fault = measure_value(items[i], depth + 1, left);
    return fault;
}

static const char *measure_text(Py_ssize_t length, struct left *left)
{
    if (length > left->characters)
        return "too long a text";
    left->characters -= (int)length;
    return NULL;
}

static const char *measure_dict(PyObject *value, int depth, struct left *left)
{
    Py_ssize_t at = 0;
    PyObject *key, *item;
    const char *fault = NULL;
    while (fault == NULL && PyDict_Next(value, &at, &key, &item)) {
        fault = measure_value(key, depth + 1, left);
        if (fault == NULL)
            fault = measure_value(item, depth + 1, left);
    }
    return fault;
}

static const char *measure_set(PyObject *value, int depth, struct left *left)
{
    Py_ssize_t at = 0;
    Py_hash_t hash;
    PyObject *item;
    const char *fault = NULL;
    while (fault == NULL && _PySet_NextEntry(value, &at, &item, &hash))
        fault = measure_value(item, depth + 1, left);
    return fault;
}

static const char *measure_value(PyObject *value, int depth, struct left *left)
{
    if (--left->items < 0)
        return "too many items";
    if (depth > left->depth)
        return "nested too deep";
    PyTypeObject *type = Py_TYPE(value);
    if (value == Py_None || type == &PyBool_Type || type == &PyFloat_Type || type == &PyComplex_Type ||
        type == &PyRange_Type)
        return NULL;
    if (type == &PyLong_Type)
        return _PyLong_NumBits(value) > (size_t)left->bits ? "too large an int" : NULL;
    if (type == &PyUnicode_Type)
        return measure_text(PyUnicode_GET_LENGTH(value), left);
    if (type == &PyBytes_Type || type == &PyByteArray_Type)
        return measure_text(Py_SIZE(value), left);
    if (type == &PyList_Type)
        return measure_items(((PyListObject *)value)->ob_item, PyList_GET_SIZE(value), depth, left);
    if (type == &PyTuple_Type)
        return measure_items(((PyTupleObject *)value)->ob_item, PyTuple_GET_SIZE(value), depth, left);
    if (type == &PyDict_Type)
        return measure_dict(value, depth, left);
    if (type == &PySet_Type || type == &PyFrozenSet_Type)
        return measure_set(value, depth, left);
    return "";
}

PyObject *measure(PyObject *module, PyObject *args)
{
    PyObject *value;
    struct left left;
    (void)module;
    if (!PyArg_ParseTuple(args, "O(iiii)", &value, &left.items, &left.characters, &left.depth, &left.bits))
        return NULL;
    const char *fault = measure_value(value, 0, &left);
    if (fault == NULL)
        Py_RETURN_NONE;
    return PyUnicode_FromString(fault);
}
