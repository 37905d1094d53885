/* In: values. Out: frames of them; and the frames that come. C, as candidate.c is. */

#include "tester.h"

#include "channel.h"
#include "tagged.h"

static PyObject *next_frame(PyObject *channel)
{
    int number = (int)PyLong_AsLong(channel);
    PyObject *frame = number < 0 ? NULL : receive_frame(number);
    if (frame == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_EOFError, "the other process is gone");
    return frame;
}

/* Send what was written, unless that failed; then for want of a common value (False), or with an exception. */
static PyObject *send_written(int channel, struct output *output, Py_ssize_t begin, int failed)
{
    PyObject *sent = Py_False;
    if (!failed && end_frame(output, begin) == 0)
        sent = send_output(channel, output) == 0 ? Py_True : NULL;
    else
        PyErr_Clear(); /* for who sends it otherwise to say */
    PyMem_RawFree(output->bytes);
    Py_XINCREF(sent);
    return sent;
}

PyDoc_STRVAR(receive_doc, "The bytes of the next frame. Raises: EOFError when the other process is gone, OSError;\n"
                          "ValueError when a frame is announced that is too large.");

static PyObject *py_receive(PyObject *module, PyObject *channel)
{
    (void)module;
    return next_frame(channel);
}

PyDoc_STRVAR(receive_trusted_doc, "The common value in the next frame. Raises: as receive.");

static PyObject *py_receive_trusted(PyObject *module, PyObject *channel)
{
    int items = 0;
    (void)module;
    PyObject *frame = next_frame(channel);
    if (frame == NULL)
        return NULL;
    struct text text = {PyBytes_AS_STRING(frame), PyBytes_AS_STRING(frame) + PyBytes_GET_SIZE(frame)};
    PyObject *value = read_form(&text, &items, 0);
    Py_DECREF(frame);
    if (value == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "a frame holds no common value");
    return value;
}

PyDoc_STRVAR(send_doc, "Send a value as tagged JSON. False, and nothing was sent, when it is not common. Raises: OSError.");

static PyObject *py_send(PyObject *module, PyObject *args)
{
    struct output output = {NULL, 0, 0};
    PyObject *value;
    int channel, items = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "iO", &channel, &value))
        return NULL;
    Py_ssize_t begin = begin_frame(&output);
    int failed = begin < 0 || write_form(&output, value, &items, 0) != 0;
    return send_written(channel, &output, begin, failed);
}

static int write_arguments(struct output *output, PyObject *args)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(args); i++) {
        int items = 0;
        if ((i > 0 && put(output, ", ", 2) != 0) || write_form(output, PyTuple_GET_ITEM(args, i), &items, 0) != 0)
            return -1;
    }
    return 0;
}

static int write_named_arguments(struct output *output, PyObject *kwargs)
{
    PyObject *name, *value;
    Py_ssize_t place = 0;
    int first = 1, items = 0;
    for (; PyDict_Next(kwargs, &place, &name, &value); first = items = 0)
        if (!PyUnicode_CheckExact(name) || (!first && put(output, ", ", 2) != 0) ||
            write_form(output, name, &items, 0) != 0 || put(output, ": ", 2) != 0 ||
            write_form(output, value, &items, 0) != 0)
            return -1;
    return 0;
}

PyDoc_STRVAR(send_call_doc,
             "Send a call of the function under test. False, and nothing was sent, when an argument is not common.\n\n"
             "Raises: OSError.");

static PyObject *py_send_call(PyObject *module, PyObject *arguments)
{
    static const char opening[] = "{\"calls\": [{\"function\": 0, \"args\": [", between[] = "], \"kwargs\": {",
                      closing[] = "}, \"objects\": []}]}";
    struct output output = {NULL, 0, 0};
    PyObject *args, *kwargs;
    int channel;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "iO!O!", &channel, &PyTuple_Type, &args, &PyDict_Type, &kwargs))
        return NULL;
    Py_ssize_t begin = begin_frame(&output);
    int failed = begin < 0 || put(&output, opening, sizeof opening - 1) != 0 || write_arguments(&output, args) != 0 ||
                 put(&output, between, sizeof between - 1) != 0 || write_named_arguments(&output, kwargs) != 0 ||
                 put(&output, closing, sizeof closing - 1) != 0;
    return send_written(channel, &output, begin, failed);
}

PyMethodDef TESTER_METHODS[] = {
    {"receive", py_receive, METH_O, receive_doc},
    {"receive_trusted", py_receive_trusted, METH_O, receive_trusted_doc},
    {"send", py_send, METH_VARARGS, send_doc},
    {"send_call", py_send_call, METH_VARARGS, send_call_doc},
    {NULL, NULL, 0, NULL},
};
