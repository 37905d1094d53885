/* In: frames {"source", "entry_point", "calls"} and {"calls": [{"args", "kwargs"}]}. Out: the answers.

   What candidate.py does, for the common values; C, as each Python function that a fork runs costs it a handful of
   copied pages. Whatever is not common goes to a fallback in Python, which says what every answer is. The program shares
   this process: nothing here is trusted once it was loaded. */

#include "calls.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tagged.h"

#define PROGRAM "solution" /* the name of its module */

enum { HEADER_BYTES = 4, MAX_FRAME_BYTES = 8 << 20, MAX_ARGUMENTS = 32 };

struct argument {
    PyObject *value;
    const char *form; /* as it came */
    size_t form_bytes;
};

/* A call whose arguments are common values. The first num_args are positional, names holds those of the others. */
struct call {
    const char *text;
    Py_ssize_t text_bytes;
    struct argument arguments[MAX_ARGUMENTS];
    int num_arguments, num_args;
    PyObject *names; /* tuple, or NULL */
};

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

/* 1, 0 at the end of what is sent, -1 with an exception. */
static int receive(int channel, char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t got;
        Py_BEGIN_ALLOW_THREADS
        got = read(channel, bytes, size);
        Py_END_ALLOW_THREADS
        if (got > 0) {
            bytes += got;
            size -= (size_t)got;
        } else if (got == 0 || errno == ECONNRESET) {
            return 0;
        } else if (errno != EINTR || PyErr_CheckSignals() != 0) {
            if (!PyErr_Occurred())
                PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
    }
    return 1;
}

/* The body of the next frame, or NULL: at the end without an exception. */
static PyObject *receive_frame(int channel)
{
    unsigned char header[HEADER_BYTES];
    if (receive(channel, (char *)header, sizeof header) <= 0)
        return NULL;
    size_t size = (size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3];
    if (size > MAX_FRAME_BYTES)
        return PyErr_Format(PyExc_ValueError, "a message of %zu bytes was announced", size);
    PyObject *body = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (body != NULL && receive(channel, PyBytes_AS_STRING(body), size) <= 0)
        Py_CLEAR(body);
    return body;
}

static int send_waiting(struct candidate *candidate)
{
    const char *bytes = candidate->waiting.bytes;
    size_t size = candidate->waiting.size;
    while (size > 0) {
        ssize_t sent;
        Py_BEGIN_ALLOW_THREADS
        sent = write(candidate->channel, bytes, size);
        Py_END_ALLOW_THREADS
        if (sent >= 0) {
            bytes += sent;
            size -= (size_t)sent;
        } else if (errno != EINTR || PyErr_CheckSignals() != 0) {
            if (!PyErr_Occurred())
                PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
    }
    candidate->num_sent += candidate->num_waiting;
    candidate->num_waiting = 0;
    candidate->waiting.size = 0;
    return 0;
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

static void forget(struct call *call)
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

/* The next key of an object, if it is this one, and its colon. */
static int take_key(struct text *text, const char *key)
{
    size_t length = strlen(key);
    skip_space(text);
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, key, length) != 0)
        return 0;
    text->at += length;
    return take(text, ':');
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

/* 0, or -1 when a value is not common. */
static int read_call(struct text text, struct call *call)
{
    if (!take(&text, '{'))
        return -1;
    do
        if (read_member(&text, call) != 0)
            return -1;
    while (take(&text, ','));
    return take(&text, '}') ? 0 : -1;
}

static PyObject *make_call(PyObject *function, const struct call *call)
{
    PyObject *values[MAX_ARGUMENTS + 1];
    for (int i = 0; i < call->num_arguments; i++)
        values[i + 1] = call->arguments[i].value;
    return PyObject_Vectorcall(function, values + 1, (size_t)call->num_args | PY_VECTORCALL_ARGUMENTS_OFFSET,
                               call->names);
}

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
    int items = 0;
    if (put(output, "\0\0\0\0{\"value\": ", HEADER_BYTES + 10) == 0 && write_form(output, value, &items, 0) == 0 &&
        write_same_as(output, value, call) == 0 && put(output, "}", 1) == 0 && are_unchanged(candidate, call)) {
        size_t size = output->size - before - HEADER_BYTES;
        if (size <= MAX_FRAME_BYTES) {
            for (int i = 0; i < HEADER_BYTES; i++)
                output->bytes[before + i] = (char)(size >> (24 - 8 * i) & 0xFF);
            return 0;
        }
    }
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

/* Run the program as a module; sys.modules has it, where dataclasses look theirs up. */
static PyObject *load_program(PyObject *source)
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

static PyObject *function_of(PyObject *module, PyObject *entry_point)
{
    PyObject *function = PyDict_GetItemWithError(PyModule_GetDict(module), entry_point);
    if (function == NULL && !PyErr_Occurred())
        PyErr_Format(PyExc_NameError, "name %R is not defined", entry_point);
    Py_XINCREF(function);
    return function;
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

PyMethodDef CALLS_METHODS[] = {
    {"serve_candidate", py_serve_candidate, METH_VARARGS, serve_candidate_doc},
    {NULL, NULL, 0, NULL},
};

int prepare_calls(PyObject *module)
{
    return prepare_tagged() != 0 ? -1 : PyModule_AddStringConstant(module, "PROGRAM", PROGRAM);
}
