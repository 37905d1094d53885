/* Python 3.11's frame evaluator (PEP 523): each call of a Python function passes through evaluate(), which costs one
   comparison where nobody wants to know of it. A profile function costs the interpreter every instruction's fast path.

   The arguments of a call that has not begun stand in its frame only, whose layout is private: hence Py_BUILD_CORE. It
   may change with a release, so can_evaluate() says yes to the very release that this was compiled for. */

#define Py_BUILD_CORE
#include "engines.h"

#ifdef HAS_ENGINES

#include <internal/pycore_frame.h>
#include <internal/pycore_interp.h>
#include <opcode.h>

#include "stack.h"

enum { GENERATORS = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR, MAX_PENDING_GENERATORS = 256 };

/* What is known of a code object, kept beside it. */
struct known {
    uintptr_t evaluator; /* the number of the one that knows it: what an earlier one thought is forgotten */
    PyObject *samples;   /* borrowed from the recorder; NULL: nobody wants to know of its calls */
    int is_done;         /* only the generators that are pending still matter */
};

static Py_ssize_t extra_index = -1;
static uintptr_t number;
static _PyFrameEvalFunction next_evaluator;
static PyObject *meet, *begin, *add_item, *end, *end_raised;
static PyObject *foreign; /* set: files none of whose functions matter */
static PyObject *pending; /* dict: address of a generator's frame -> its call */

/* The recorder itself is at work in this thread. */
static __thread int is_recording;

static struct known *known_of(PyCodeObject *code)
{
    void *extra = NULL;
    if (_PyCode_GetExtra((PyObject *)code, extra_index, &extra) != 0)
        PyErr_Clear();
    return extra;
}

/* Ask Python about a code object. NULL where there is no memory to keep the answer. */
static struct known *learn(_PyInterpreterFrame *frame, struct known *known)
{
    if (known == NULL) {
        known = PyMem_Calloc(1, sizeof *known);
        if (known == NULL)
            return NULL;
        if (_PyCode_SetExtra((PyObject *)frame->f_code, extra_index, known) != 0) {
            PyErr_Clear();
            PyMem_Free(known);
            return NULL;
        }
    }
    *known = (struct known){.evaluator = number};
    if ((frame->f_code->co_flags & (CO_OPTIMIZED | CO_NEWLOCALS)) != (CO_OPTIMIZED | CO_NEWLOCALS) ||
        PySet_Contains(foreign, frame->f_code->co_filename) == 1)
        return known;
    PyObject *samples = PyObject_CallFunctionObjArgs(meet, (PyObject *)frame->f_code, frame->f_globals, NULL);
    if (samples == NULL) {
        PyErr_Clear(); /* a RecursionError near the limit, most likely: it is asked again */
        known->evaluator = 0;
        return known;
    }
    if (samples == Py_False && PySet_Add(foreign, frame->f_code->co_filename) != 0)
        PyErr_Clear();
    known->samples = samples == Py_None || samples == Py_False ? NULL : samples;
    Py_DECREF(samples);
    return known;
}

static Py_ssize_t num_parameters(PyCodeObject *code)
{
    return code->co_argcount + code->co_kwonlyargcount + ((code->co_flags & CO_VARARGS) != 0) +
           ((code->co_flags & CO_VARKEYWORDS) != 0);
}

/* The values of a call's parameters, a tuple; NULL where one is missing. in_cells: the frame has made its cells. */
static PyObject *parameter_values(_PyInterpreterFrame *frame, int in_cells)
{
    const char *kinds = PyBytes_AS_STRING(frame->f_code->co_localspluskinds);
    PyObject *values = PyTuple_New(num_parameters(frame->f_code));
    for (Py_ssize_t i = 0; values != NULL && i < PyTuple_GET_SIZE(values); i++) {
        PyObject *value = frame->localsplus[i];
        if (in_cells && kinds[i] & CO_FAST_CELL && value != NULL && PyCell_Check(value))
            value = PyCell_GET(value);
        if (value == NULL)
            Py_CLEAR(values);
        else
            PyTuple_SET_ITEM(values, i, Py_NewRef(value));
    }
    return values;
}

/* The call as the recorder keeps it, or NULL where its end does not matter. */
static PyObject *begin_call(_PyInterpreterFrame *frame, struct known *known, int in_cells)
{
    PyObject *values = parameter_values(frame, in_cells);
    PyObject *call = values == NULL ? NULL : PyObject_CallFunctionObjArgs(begin, known->samples, values, NULL);
    Py_XDECREF(values);
    if (call == NULL)
        PyErr_Clear();
    if (call == Py_False) { /* nor will that of any later one */
        known->is_done = 1;
        if ((frame->f_code->co_flags & GENERATORS) == 0)
            known->samples = NULL;
    }
    if (call == Py_None || call == Py_False)
        Py_CLEAR(call);
    return call;
}

static void tell(PyObject *function, PyObject *call, PyObject *value)
{
    PyObject *done = PyObject_CallFunctionObjArgs(function, call, value, NULL);
    if (done == NULL)
        PyErr_Clear();
    Py_XDECREF(done);
}

/* value: NULL where the call ends with the exception that is set, and stays so. */
static void tell_end(PyObject *call, PyObject *value)
{
    if (value != NULL) {
        tell(end, call, value);
        return;
    }
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    if (error != NULL)
        tell(end_raised, call, error);
    PyErr_Restore(type, error, traceback);
}

static PyObject *evaluate_function(PyThreadState *thread, _PyInterpreterFrame *frame, struct known *known)
{
    is_recording = 1;
    PyObject *call = begin_call(frame, known, 0);
    is_recording = 0;
    PyObject *value = next_evaluator(thread, frame, 0);
    if (call != NULL) {
        is_recording = 1;
        tell_end(call, value);
        Py_DECREF(call);
        is_recording = 0;
    }
    return value;
}

static int begins(const _PyInterpreterFrame *frame)
{
    return _Py_OPCODE(*frame->prev_instr) == RETURN_GENERATOR;
}

/* Await no more of a generator. An exception that is set stays so. */
static void forget(PyObject *key)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    if (PyDict_DelItem(pending, key) != 0)
        PyErr_Clear();
    PyErr_Restore(type, error, traceback);
}

/* The pending call of a generator, which begins now or has begun, or NULL. */
static PyObject *generator_call(_PyInterpreterFrame *frame, struct known *known, int throwing, PyObject *key)
{
    int first = !throwing && begins(frame);
    if (throwing || first)
        forget(key); /* who had this place before, too */
    if (first && !is_recording && !known->is_done && PyDict_GET_SIZE(pending) < MAX_PENDING_GENERATORS) {
        is_recording = 1;
        PyObject *call = begin_call(frame, known, 1);
        is_recording = 0;
        if (call != NULL && PyDict_SetItem(pending, key, call) != 0)
            PyErr_Clear();
        Py_XDECREF(call);
    }
    return throwing || is_recording ? NULL : Py_XNewRef(PyDict_GetItem(pending, key));
}

static void tell_item(PyObject *call, PyObject *value, PyObject *key)
{
    PyObject *goes_on = PyObject_CallFunctionObjArgs(add_item, call, value, NULL);
    if (goes_on == NULL)
        PyErr_Clear();
    if (goes_on != Py_True)
        forget(key);
    Py_XDECREF(goes_on);
}

static PyObject *evaluate_generator(PyThreadState *thread, _PyInterpreterFrame *frame, struct known *known, int throwing)
{
    PyObject *key = PyLong_FromVoidPtr(frame);
    if (key == NULL) {
        PyErr_Clear();
        return next_evaluator(thread, frame, throwing);
    }
    PyObject *call = generator_call(frame, known, throwing, key);
    PyGenObject *generator = _PyFrame_GetGenerator(frame);
    PyObject *value = next_evaluator(thread, frame, throwing);
    if (call != NULL) {
        is_recording = 1;
        if (value != NULL && generator->gi_frame_state == FRAME_SUSPENDED) {
            tell_item(call, value, key);
        } else {
            tell_end(call, value);
            forget(key);
        }
        Py_DECREF(call);
        is_recording = 0;
    }
    Py_DECREF(key);
    return value;
}

static PyObject *evaluate(PyThreadState *thread, _PyInterpreterFrame *frame, int throwing)
{
    if (is_stack_used_up()) {
        PyErr_SetString(PyExc_RecursionError, "maximum recursion depth exceeded: the tracer's stack is used up");
        return NULL;
    }
    struct known *known = known_of(frame->f_code);
    if (known != NULL && known->evaluator == number && known->samples == NULL)
        return next_evaluator(thread, frame, throwing);
    int is_generator = (frame->f_code->co_flags & GENERATORS) != 0;
    /* The call that makes a generator is none of its own yet. */
    if (is_generator != (frame->owner == FRAME_OWNED_BY_GENERATOR))
        return next_evaluator(thread, frame, throwing);
    if (known == NULL || known->evaluator != number) {
        if (is_recording || throwing)
            return next_evaluator(thread, frame, throwing);
        is_recording = 1;
        known = learn(frame, known);
        is_recording = 0;
    }
    if (known == NULL || known->samples == NULL)
        return next_evaluator(thread, frame, throwing);
    if (is_generator)
        return evaluate_generator(thread, frame, known, throwing);
    return is_recording ? next_evaluator(thread, frame, throwing) : evaluate_function(thread, frame, known);
}

PyDoc_STRVAR(configure_doc,
             "configure_evaluator(meet, begin, add_item, end, end_raised): meet(code, globals) says what stands for the\n"
             "function, None, or False (nor for any of its file); begin(that, values) what stands for the call, None (not looked at) or False (never\n"
             "again); add_item(call, value) whether it goes on; end(call, value); end_raised(call, exception).");

static PyObject *configure(PyObject *module, PyObject *args)
{
    PyObject *callbacks[5];
    PyObject **const kept[] = {&meet, &begin, &add_item, &end, &end_raised};
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOO", callbacks, callbacks + 1, callbacks + 2, callbacks + 3, callbacks + 4))
        return NULL;
    if (extra_index < 0)
        extra_index = _PyEval_RequestCodeExtraIndex(PyMem_Free);
    if (extra_index < 0) {
        PyErr_SetString(PyExc_RuntimeError, "code objects can keep no more");
        return NULL;
    }
    if (pending == NULL && (pending = PyDict_New()) == NULL)
        return NULL;
    Py_XSETREF(foreign, PySet_New(NULL));
    if (foreign == NULL)
        return NULL;
    for (int i = 0; i < 5; i++)
        Py_XSETREF(*kept[i], Py_NewRef(callbacks[i]));
    number++;
    Py_RETURN_NONE;
}

static PyObject *start(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    if (begin == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "configure_evaluator comes first");
        return NULL;
    }
    PyDict_Clear(pending); /* whose ends may have been missed */
    PyInterpreterState *interpreter = PyInterpreterState_Get();
    _PyFrameEvalFunction present = _PyInterpreterState_GetEvalFrameFunc(interpreter);
    if (present != evaluate) {
        next_evaluator = present; /* somebody else's, or the interpreter's own */
        _PyInterpreterState_SetEvalFrameFunc(interpreter, evaluate);
    }
    Py_RETURN_NONE;
}

static PyObject *is_running(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyBool_FromLong(_PyInterpreterState_GetEvalFrameFunc(PyInterpreterState_Get()) == evaluate);
}

static PyObject *stop(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyInterpreterState *interpreter = PyInterpreterState_Get();
    if (_PyInterpreterState_GetEvalFrameFunc(interpreter) == evaluate)
        _PyInterpreterState_SetEvalFrameFunc(interpreter, next_evaluator);
    Py_RETURN_NONE;
}

static PyObject *can_evaluate(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyBool_FromLong(Py_Version == PY_VERSION_HEX);
}

PyMethodDef EVALUATOR_METHODS[] = {
    {"configure_evaluator", configure, METH_VARARGS, configure_doc},
    {"start_evaluator", start, METH_NOARGS, "Trace all threads."},
    {"stop_evaluator", stop, METH_NOARGS, "Trace no longer; an evaluator of somebody else's stays."},
    {"is_evaluating", is_running, METH_NOARGS, "Whether calls pass through the evaluator."},
    {"can_evaluate", can_evaluate, METH_NOARGS, "Whether this Python is the release that this was compiled for."},
    {NULL, NULL, 0, NULL},
};

#endif
