/* In: frames {"source", "entry_point", "calls"} and {"calls": [{"args", "kwargs"}]}. Out: the answers.

   What candidate.py does, for the common values; C, as each Python function that a fork runs costs it a handful of
   copied pages. Whatever is not common goes to a fallback in Python, which says what every answer is. The program shares
   this process: nothing here is trusted once it was loaded. */

#include "candidate.h"

#include <string.h>

#include "call.h"
#include "channel.h"
#include "program.h"
#include "tagged.h"

/* The candidate's end of the channel, and what waits to be sent. Replies go in growing groups: the first at once, then
   whenever as many wait as have been sent. So a program that is wrong early is found out early, and one that is right
   costs few messages. No clock decides: when a program dies, what was heard of it before does not depend on the machine. */
struct candidate {
    int channel;
    PyObject *function, *module, *make_fallback;
    PyObject *fallback; /* NULL until it is needed */
    struct output waiting, scratch;
    long num_waiting, num_sent;
};

/* ---- the channel ---- */

static int send_waiting(struct candidate *candidate)
{
    candidate->num_sent += candidate->num_waiting;
    candidate->num_waiting = 0;
    return send_output(candidate->channel, &candidate->waiting);
}

static int count_reply(struct candidate *candidate)
{
    return ++candidate->num_waiting > candidate->num_sent ? send_waiting(candidate) : 0;
}

/* A whole frame that the fallback made; takes the reference. */
static int add_frame(struct candidate *candidate, PyObject *frame)
{
    if (frame == NULL)
        return -1;
    int failed = !PyBytes_Check(frame) ||
                 put(&candidate->waiting, PyBytes_AS_STRING(frame), (size_t)PyBytes_GET_SIZE(frame)) != 0;
    Py_DECREF(frame);
    if (failed)
        PyErr_SetString(PyExc_MemoryError, "an answer cannot be kept");
    return failed ? -1 : count_reply(candidate);
}

static PyObject *fallback_of(struct candidate *candidate)
{
    if (candidate->fallback == NULL)
        candidate->fallback = PyObject_CallFunction(candidate->make_fallback, "iOO", candidate->channel,
                                                    candidate->function, candidate->module);
    return candidate->fallback;
}

/* ---- calls ---- */

static int is_unchangeable(PyObject *value)
{
    return value == Py_None || PyBool_Check(value) || PyLong_CheckExact(value) || PyFloat_CheckExact(value) ||
           PyUnicode_CheckExact(value);
}

/* Whether the arguments are written as they came. */
static int are_unchanged(struct candidate *candidate, const struct call *call)
{
    for (int i = 0; i < call->num_arguments; i++) {
        const struct argument *argument = &call->arguments[i];
        int items = 0;
        candidate->scratch.size = 0;
        if (is_unchangeable(argument->value))
            continue;
        if (write_form(&candidate->scratch, argument->value, &items, 0) != 0 ||
            candidate->scratch.size != argument->form_bytes ||
            memcmp(candidate->scratch.bytes, argument->form, argument->form_bytes) != 0)
            return 0;
    }
    return 1;
}

/* A list or dict that is one of the arguments is told as such, by its place. */
static int write_same_as(struct output *output, PyObject *value, const struct call *call)
{
    int place = 0;
    if (!PyList_CheckExact(value) && !PyDict_CheckExact(value))
        return 0;
    while (place < call->num_arguments && call->arguments[place].value != value)
        place++;
    if (place == call->num_arguments)
        return put(output, ", \"same_as\": null", 17);
    return put(output, ", \"same_as\": ", 13) != 0 ? -1 : put_integer(output, place);
}

/* {"value": ...}, as a frame. 0; or -1, and nothing is left of it, when this is for the fallback. */
static int write_reply(struct candidate *candidate, PyObject *value, const struct call *call)
{
    struct output *output = &candidate->waiting;
    size_t before = output->size;
    Py_ssize_t begin = begin_frame(output);
    int items = 0;
    if (begin >= 0 && put(output, "{\"value\": ", 10) == 0 && write_form(output, value, &items, 0) == 0 &&
        write_same_as(output, value, call) == 0 && put(output, "}", 1) == 0 && are_unchanged(candidate, call) &&
        end_frame(output, begin) == 0)
        return 0;
    PyErr_Clear();
    output->size = before;
    return -1;
}

static PyObject *list_of(const struct call *call)
{
    PyObject *list = PyList_New(call->num_arguments);
    for (int i = 0; list != NULL && i < call->num_arguments; i++) {
        Py_INCREF(call->arguments[i].value);
        PyList_SET_ITEM(list, i, call->arguments[i].value);
    }
    return list;
}

/* fallback.describe(call, arguments, value, error): value or error is NULL, for None. */
static PyObject *describe(struct candidate *candidate, const struct call *call, PyObject *value, PyObject *error)
{
    PyObject *fallback = fallback_of(candidate), *arguments = list_of(call), *frame = NULL;
    if (fallback != NULL && arguments != NULL)
        frame = PyObject_CallMethod(fallback, "describe", "y#OOO", call->text, call->text_bytes, arguments,
                                    value == NULL ? Py_None : value, error == NULL ? Py_None : error);
    Py_XDECREF(arguments);
    return frame;
}

/* The exception that is set, as an object with its traceback. */
static PyObject *take_exception(void)
{
    PyObject *kind, *error, *traceback;
    PyErr_Fetch(&kind, &error, &traceback);
    PyErr_NormalizeException(&kind, &error, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(error, traceback);
    Py_XDECREF(kind);
    Py_XDECREF(traceback);
    return error;
}

static int answer(struct candidate *candidate, struct text text, struct call *call)
{
    call->text = text.at;
    call->text_bytes = text.end - text.at;
    if (read_call(text, call) != 0) {
        PyErr_Clear();
        PyObject *fallback = fallback_of(candidate);
        return fallback == NULL ? -1
                                : add_frame(candidate, PyObject_CallMethod(fallback, "answer", "y#", call->text,
                                                                           call->text_bytes));
    }
    PyObject *value = make_call(candidate->function, call), *error = value == NULL ? take_exception() : NULL;
    int result = value != NULL && write_reply(candidate, value, call) == 0
                     ? count_reply(candidate)
                     : add_frame(candidate, describe(candidate, call, value, error));
    Py_XDECREF(value);
    Py_XDECREF(error);
    return result;
}

/* [call, ...] */
static int answer_all(struct candidate *candidate, struct text text)
{
    if (!take(&text, '['))
        goto malformed;
    if (take(&text, ']'))
        return 0;
    do {
        struct call call;
        memset(&call, 0, sizeof call);
        skip_space(&text);
        struct text one = text;
        if (skip_value(&text) != 0)
            goto malformed;
        one.end = text.at;
        int result = answer(candidate, one, &call);
        forget(&call);
        if (result != 0)
            return -1;
    } while (take(&text, ','));
    if (take(&text, ']'))
        return 0;
malformed:
    PyErr_SetString(PyExc_ValueError, "the calls are malformed");
    return -1;
}

/* ---- what Python calls ---- */

static struct text text_of(PyObject *bytes)
{
    return (struct text){PyBytes_AS_STRING(bytes), PyBytes_AS_STRING(bytes) + PyBytes_GET_SIZE(bytes)};
}

/* The strings "source" and "entry_point", and the text of "calls", if any. 0, or -1 with an exception. */
static int read_job(PyObject *frame, PyObject **source, PyObject **entry_point, struct text *calls)
{
    struct text text = text_of(frame);
    if (take(&text, '{') && take_key(&text, "\"source\"") && (*source = read_string(&text)) != NULL && take(&text, ',') &&
        take_key(&text, "\"entry_point\"") && (*entry_point = read_string(&text)) != NULL) {
        *calls = (struct text){"[]", NULL};
        calls->end = calls->at + 2;
        if (take(&text, '}'))
            return 0;
        if (take(&text, ',') && take_key(&text, "\"calls\"")) {
            *calls = text;
            return 0;
        }
    }
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "the job is malformed");
    return -1;
}

/* Load the program and answer all calls. 0 at the end of the channel, or -1. */
static int answer_frames(struct candidate *candidate, struct text calls)
{
    static const char loaded[] = "\0\0\0\020{\"loaded\": true}"; /* its 16 bytes are told in octal */
    if (put(&candidate->waiting, loaded, sizeof loaded - 1) != 0 || count_reply(candidate) != 0 ||
        answer_all(candidate, calls) != 0 || send_waiting(candidate) != 0)
        return -1;
    for (;;) {
        PyObject *frame = receive_frame(candidate->channel);
        if (frame == NULL)
            return PyErr_Occurred() ? -1 : 0;
        struct text text = text_of(frame);
        int result = -1;
        if (take(&text, '{') && take_key(&text, "\"calls\""))
            result = answer_all(candidate, text) != 0 ? -1 : send_waiting(candidate);
        else
            PyErr_SetString(PyExc_ValueError, "no calls");
        Py_DECREF(frame);
        if (result != 0)
            return -1;
    }
}

static int serve_job(struct candidate *candidate, PyObject *frame, PyObject *refuse)
{
    PyObject *source = NULL, *entry_point = NULL;
    struct text calls;
    int result = -1;
    if (read_job(frame, &source, &entry_point, &calls) == 0) {
        if ((candidate->module = load_program(source)) != NULL &&
            (candidate->function = function_of(candidate->module, entry_point)) != NULL) {
            result = answer_frames(candidate, calls);
        } else {
            PyObject *error = take_exception();
            Py_XDECREF(PyObject_CallFunction(refuse, "iO", candidate->channel, error));
            Py_DECREF(error);
        }
    }
    Py_XDECREF(source);
    Py_XDECREF(entry_point);
    return result;
}

PyDoc_STRVAR(serve_candidate_doc,
             "Receive a program, load it and answer calls; returns when the caller closes the channel.\n\n"
             "make_fallback(channel, function, module): candidate.Fallback. refuse(channel, error): is called when the\n"
             "program cannot be loaded, and must end the process. Raises: EOFError, OSError; ValueError when a frame is\n"
             "malformed; what the fallback raises.");

static PyObject *py_serve_candidate(PyObject *module, PyObject *args)
{
    struct candidate candidate;
    PyObject *refuse;
    (void)module;
    memset(&candidate, 0, sizeof candidate);
    candidate.num_sent = 1; /* "loaded" goes with the first */
    if (!PyArg_ParseTuple(args, "iOO", &candidate.channel, &candidate.make_fallback, &refuse))
        return NULL;
    PyObject *frame = receive_frame(candidate.channel);
    if (frame == NULL)
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_EOFError, "the other process is gone");
    int result = serve_job(&candidate, frame, refuse);
    Py_DECREF(frame);
    Py_XDECREF(candidate.function);
    Py_XDECREF(candidate.module);
    Py_XDECREF(candidate.fallback);
    PyMem_RawFree(candidate.waiting.bytes);
    PyMem_RawFree(candidate.scratch.bytes);
    if (result != 0)
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyMethodDef CANDIDATE_METHODS[] = {
    {"serve_candidate", py_serve_candidate, METH_VARARGS, serve_candidate_doc},
    {NULL, NULL, 0, NULL},
};
