/* In: the text of a call. Out: its arguments as Python values, each with its text, and the call made. */

#include "call.h"

#include <string.h>

void forget(struct call *call)
{
    for (int i = 0; i < call->num_arguments; i++)
        Py_CLEAR(call->arguments[i].value);
    Py_CLEAR(call->names);
    call->num_arguments = 0;
}

static int read_argument(struct text *text, struct call *call)
{
    int items = 0;
    if (call->num_arguments == MAX_ARGUMENTS)
        return -1;
    struct argument *argument = &call->arguments[call->num_arguments];
    skip_space(text);
    argument->form = text->at;
    if ((argument->value = read_form(text, &items, 0)) == NULL)
        return -1;
    argument->form_bytes = (size_t)(text->at - argument->form);
    call->num_arguments++;
    return 0;
}

static int read_args(struct text *text, struct call *call)
{
    if (call->num_arguments > 0 || !take(text, '['))
        return -1;
    if (take(text, ']'))
        return 0;
    do
        if (read_argument(text, call) != 0)
            return -1;
    while (take(text, ','));
    call->num_args = call->num_arguments;
    return take(text, ']') ? 0 : -1;
}

static int read_kwargs(struct text *text, struct call *call)
{
    if (!take(text, '{'))
        return -1;
    if (take(text, '}'))
        return 0;
    PyObject *names = PyList_New(0);
    if (names == NULL)
        return -1;
    do {
        PyObject *name = read_string(text);
        int failed = name == NULL || PySequence_Contains(names, name) != 0 || PyList_Append(names, name) != 0 ||
                     !take(text, ':') || read_argument(text, call) != 0;
        Py_XDECREF(name);
        if (failed) {
            Py_DECREF(names);
            return -1;
        }
    } while (take(text, ','));
    call->names = PyList_AsTuple(names);
    Py_DECREF(names);
    return call->names != NULL && take(text, '}') ? 0 : -1;
}

/* A tester's call of the function under test, with no objects, is a plain call. */
static int read_member(struct text *text, struct call *call)
{
    if (take_key(text, "\"args\""))
        return read_args(text, call);
    if (take_key(text, "\"kwargs\""))
        return read_kwargs(text, call);
    if (take_key(text, "\"function\""))
        return take(text, '0') ? 0 : -1;
    return take_key(text, "\"objects\"") && take(text, '[') && take(text, ']') ? 0 : -1;
}

int read_call(struct text text, struct call *call)
{
    if (!take(&text, '{'))
        return -1;
    do
        if (read_member(&text, call) != 0)
            return -1;
    while (take(&text, ','));
    return take(&text, '}') ? 0 : -1;
}

PyObject *make_call(PyObject *function, const struct call *call)
{
    PyObject *values[MAX_ARGUMENTS + 1];
    for (int i = 0; i < call->num_arguments; i++)
        values[i + 1] = call->arguments[i].value;
    return PyObject_Vectorcall(function, values + 1, (size_t)call->num_args | PY_VECTORCALL_ARGUMENTS_OFFSET,
                               call->names);
}
