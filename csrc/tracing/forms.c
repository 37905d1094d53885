/* In: values of a traced call. Out: text, byte for byte as forms.py gives it; False for what is too large or has no form;
   None for what is rare: then Python looks. No code of the project's own runs meanwhile. */

#include "forms.h"

#include "../sandbox/tagged.h"

enum { MAX_KNOWN_CLASSES = 1024 };

struct writer {
    struct output output;
    int items, characters, depth; /* what is left, and the deepest level */
    int is_refused;               /* beside -1: there is no text, whoever writes it */
    PyObject *layout_of;
};

static PyObject *classes;   /* class -> (text before the fields, its slots), or False: its objects have no form */
static PyObject *sort_keys; /* {"key": repr} */
static PyObject *empty;     /* () */

static int write_value(struct writer *writer, PyObject *value, int depth);

static int refuse(struct writer *writer)
{
    writer->is_refused = 1;
    return -1;
}

static int write_text(struct writer *writer, PyObject *value)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(value);
    if (length > writer->characters)
        return refuse(writer);
    writer->characters -= (int)length;
    return write_string(&writer->output, value);
}

static int write_items(struct writer *writer, PyObject *sequence, int depth)
{
    if (put(&writer->output, "[", 1) != 0)
        return -1;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence); i++)
        if ((i > 0 && put(&writer->output, ", ", 2) != 0) ||
            write_value(writer, PySequence_Fast_GET_ITEM(sequence, i), depth + 1) != 0)
            return -1;
    return put(&writer->output, "]", 1);
}

/* Strings and integers that are their own forms, by which the items of a set are sorted. */
static int are_simple(PyObject *list)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list); i++)
        if (!PyUnicode_CheckExact(PyList_GET_ITEM(list, i)) && !PyLong_CheckExact(PyList_GET_ITEM(list, i)))
            return 0;
    return 1;
}

static int write_set(struct writer *writer, PyObject *set, int depth)
{
    PyObject *items = PySequence_List(set), *none = NULL;
    int written = -1;
    if (items != NULL && are_simple(items)) {
        PyObject *sort = PyList_GET_SIZE(items) > 1 ? PyObject_GetAttrString(items, "sort") : NULL;
        none = sort == NULL ? Py_NewRef(Py_None) : PyObject_Call(sort, empty, sort_keys);
        Py_XDECREF(sort);
        if (none != NULL && put(&writer->output, PyFrozenSet_CheckExact(set) ? "{\"z\": " : "{\"s\": ", 6) == 0 &&
            write_items(writer, items, depth) == 0)
            written = put(&writer->output, "}", 1);
    }
    Py_XDECREF(none);
    Py_XDECREF(items);
    return written;
}

static int write_dict(struct writer *writer, PyObject *dict, int depth)
{
    struct output *output = &writer->output;
    PyObject *key, *value;
    Py_ssize_t place = 0;
    if (put(output, "{\"d\": [", 7) != 0)
        return -1;
    for (int first = 1; PyDict_Next(dict, &place, &key, &value); first = 0)
        if (put(output, first ? "[" : ", [", first ? 1 : 3) != 0 || write_value(writer, key, depth + 1) != 0 ||
            put(output, ", ", 2) != 0 || write_value(writer, value, depth + 1) != 0 || put(output, "]", 1) != 0)
            return -1;
    return put(output, "]}", 2);
}

/* One field of an object. first: of the object's. */
static int write_field(struct writer *writer, int first, PyObject *name, PyObject *value, int depth)
{
    struct output *output = &writer->output;
    if (!PyUnicode_CheckExact(name))
        return -1;
    return put(output, first ? "[" : ", [", first ? 1 : 3) != 0 || write_string(output, name) != 0 ||
                   put(output, ", ", 2) != 0 || write_value(writer, value, depth + 1) != 0
               ? -1
               : put(output, "]", 1);
}

/* The fields in slots; their number, or -1. */
static int write_slots(struct writer *writer, PyObject *value, PyObject *slots, int depth)
{
    int count = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(slots); i++) {
        PyObject *slot = PyTuple_GET_ITEM(slots, i);
        PyObject *name = PyTuple_GET_ITEM(slot, 0), *member = PyTuple_GET_ITEM(slot, 1);
        PyObject *field = Py_TYPE(member)->tp_descr_get(member, value, (PyObject *)Py_TYPE(value));
        if (field == NULL) { /* never set */
            PyErr_Clear();
            continue;
        }
        int failed = write_field(writer, count == 0, name, field, depth) != 0;
        Py_DECREF(field);
        if (failed)
            return -1;
        count++;
    }
    return count;
}

static int write_fields(struct writer *writer, PyObject *value, PyObject *slots, int depth)
{
    int num_slots = write_slots(writer, value, slots, depth);
    if (num_slots < 0 || Py_TYPE(value)->tp_dictoffset == 0)
        return num_slots < 0 ? -1 : 0;
    PyObject *fields = PyObject_GenericGetDict(value, NULL);
    if (fields == NULL || !PyDict_CheckExact(fields) || (num_slots > 0 && PyDict_GET_SIZE(fields) > 0)) {
        Py_XDECREF(fields); /* a name may stand in both */
        return -1;
    }
    PyObject *name, *field;
    Py_ssize_t place = 0;
    int failed = 0;
    for (int first = 1; !failed && PyDict_Next(fields, &place, &name, &field); first = 0)
        failed = write_field(writer, first, name, field, depth) != 0;
    Py_DECREF(fields);
    return failed ? -1 : 0;
}

/* What Python says of a class, which is kept: a borrowed reference, or NULL. */
static PyObject *layout(struct writer *writer, PyTypeObject *type)
{
    if (Py_TYPE(type)->tp_hash != PyType_Type.tp_hash || Py_TYPE(type)->tp_richcompare != PyType_Type.tp_richcompare)
        return NULL; /* its metaclass may run code of its own when it is looked up */
    PyObject *known = PyDict_GetItemWithError(classes, (PyObject *)type);
    if (known != NULL || PyErr_Occurred())
        return known;
    PyObject *found = PyObject_CallOneArg(writer->layout_of, (PyObject *)type);
    if (found == NULL || found == Py_None) { /* which may change: a class may not stand in its module yet */
        Py_XDECREF(found);
        return NULL;
    }
    if (PyDict_GET_SIZE(classes) >= MAX_KNOWN_CLASSES)
        PyDict_Clear(classes);
    int kept = PyDict_SetItem(classes, (PyObject *)type, found);
    Py_DECREF(found);
    return kept == 0 ? found : NULL;
}

static int write_object(struct writer *writer, PyObject *value, int depth)
{
    PyObject *known = layout(writer, Py_TYPE(value));
    if (known == NULL)
        return -1;
    if (known == Py_False)
        return refuse(writer);
    Py_ssize_t size;
    const char *before = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(known, 0), &size);
    if (before == NULL || put(&writer->output, before, (size_t)size) != 0)
        return -1;
    PyObject *slots = Py_NewRef(PyTuple_GET_ITEM(known, 1));
    int failed = write_fields(writer, value, slots, depth) != 0 || put(&writer->output, "]]}", 3) != 0;
    Py_DECREF(slots);
    return failed ? -1 : 0;
}

static int write_known(struct writer *writer, PyObject *value, int depth)
{
    struct output *output = &writer->output;
    PyTypeObject *type = Py_TYPE(value);
    if (--writer->items < 0 || depth > writer->depth)
        return refuse(writer);
    if (value == Py_None)
        return put(output, "null", 4);
    if (type == &PyBool_Type)
        return value == Py_True ? put(output, "true", 4) : put(output, "false", 5);
    if (type == &PyLong_Type)
        return write_integer(output, value);
    if (type == &PyUnicode_Type)
        return write_text(writer, value);
    if (type == &PyFloat_Type)
        return write_float(output, value);
    if (type == &PyList_Type)
        return write_items(writer, value, depth);
    if (type == &PyTuple_Type)
        return put(output, "{\"t\": ", 6) != 0 || write_items(writer, value, depth) != 0 ? -1 : put(output, "}", 1);
    if (type == &PyDict_Type)
        return write_dict(writer, value, depth);
    if (type == &PySet_Type || type == &PyFrozenSet_Type)
        return write_set(writer, value, depth);
    if (type == &PyBytes_Type || type == &PyByteArray_Type || type == &PyComplex_Type || type == &PyRange_Type)
        return -1;
    return write_object(writer, value, depth);
}

static int write_value(struct writer *writer, PyObject *value, int depth)
{
    Py_INCREF(value); /* the collector may run while Python is asked about a class */
    int failed = write_known(writer, value, depth);
    Py_DECREF(value);
    return failed;
}

PyDoc_STRVAR(text_of_doc, "text_of(value, (items, characters, depth), layout_of): the text of a value's form; False: it has\n"
                          "none, or is too large; None: Python has to look. layout_of(class): the text before the fields of its\n"
                          "objects, and its slots; False: they have no form; None: another one.");

static PyObject *text_of(PyObject *module, PyObject *args)
{
    PyObject *value, *text = NULL;
    struct writer writer = {.output = {0}};
    (void)module;
    if (!PyArg_ParseTuple(args, "O(iii)O", &value, &writer.items, &writer.characters, &writer.depth, &writer.layout_of))
        return NULL;
    int written = write_value(&writer, value, 0) == 0;
    PyErr_Clear(); /* Python will say it */
    if (written && (text = PyUnicode_New((Py_ssize_t)writer.output.size, 127)) != NULL)
        memcpy(PyUnicode_1BYTE_DATA(text), writer.output.bytes, writer.output.size);
    PyMem_RawFree(writer.output.bytes);
    if (written)
        return text;
    return Py_NewRef(writer.is_refused ? Py_False : Py_None);
}

int prepare_forms(void)
{
    classes = PyDict_New();
    empty = PyTuple_New(0);
    sort_keys = Py_BuildValue("{s:O}", "key", PyDict_GetItemString(PyEval_GetBuiltins(), "repr"));
    return classes == NULL || empty == NULL || sort_keys == NULL ? -1 : prepare_writing();
}

PyMethodDef FORMS_METHODS[] = {
    {"text_of", text_of, METH_VARARGS, text_of_doc},
    {NULL, NULL, 0, NULL},
};
