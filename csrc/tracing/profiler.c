/* A profile function that asks Python only about the calls that matter, for Python 3.11: later ones have sys.monitoring. */

#include "engines.h"

#include <frameobject.h>

#ifdef HAS_ENGINES

/* What is known of a code object, kept beside it as a number: 4 * the tracer's own + the verdict. */
enum verdict { UNKNOWN = 0, WANTED, DONE };
static Py_ssize_t extra_index = -1;
static uintptr_t tracer_number;

static PyObject *on_call, *on_return, *pending;

/* The call of this thread that has ended with an exception which is not seen yet. */
static __thread PyObject *unwound;

static enum verdict verdict_of(PyObject *code)
{
    void *extra = NULL;
    if (_PyCode_GetExtra(code, extra_index, &extra) != 0)
        PyErr_Clear();
    return (uintptr_t)extra / 4 == tracer_number ? (enum verdict)((uintptr_t)extra % 4) : UNKNOWN;
}

static void set_verdict(PyObject *code, enum verdict verdict)
{
    if (_PyCode_SetExtra(code, extra_index, (void *)(4 * tracer_number + verdict)) != 0)
        PyErr_Clear(); /* it is asked again */
}

static int is_awaited(PyObject *frame)
{
    int found = PyDict_GET_SIZE(pending) > 0 ? PyDict_Contains(pending, frame) : 0;
    if (found < 0)
        PyErr_Clear();
    return found > 0;
}

/* Forget the frame of a call whose end cannot be told. */
static void drop(PyObject *frame)
{
    if (PyDict_DelItem(pending, frame) != 0)
        PyErr_Clear();
}

static void tell_end(PyObject *frame, PyObject *value, PyObject *error)
{
    PyObject *result = PyObject_CallFunctionObjArgs(on_return, frame, value, error, NULL);
    if (result == NULL) {
        PyErr_Clear(); /* a RecursionError near the limit, most likely: this one call is not recorded */
        drop(frame);
    }
    Py_XDECREF(result);
}

static int is_in_traceback(PyObject *traceback, PyObject *frame)
{
    for (; traceback != NULL && PyTraceBack_Check(traceback);
         traceback = (PyObject *)((PyTracebackObject *)traceback)->tb_next)
        if ((PyObject *)((PyTracebackObject *)traceback)->tb_frame == frame)
            return 1;
    return 0;
}

/* Trace function, set between the end of a call with an exception and the next event of its thread: where the exception
   goes on to a Python frame, that event shows it. */
static int trace(PyObject *self, PyFrameObject *frame, int what, PyObject *argument)
{
    (void)self;
    (void)frame;
    PyObject *ended = unwound;
    unwound = NULL;
    PyEval_SetTrace(NULL, NULL);
    if (ended == NULL)
        return 0;
    if (what == PyTrace_EXCEPTION && PyTuple_Check(argument) && PyTuple_GET_SIZE(argument) == 3 &&
        is_in_traceback(PyTuple_GET_ITEM(argument, 2), ended))
        tell_end(ended, Py_None, PyTuple_GET_ITEM(argument, 1));
    else
        drop(ended); /* C code has caught it */
    Py_DECREF(ended);
    return 0;
}

static void await_exception(PyObject *frame)
{
    PyThreadState *thread = PyThreadState_Get();
    if (thread->c_tracefunc != NULL && thread->c_tracefunc != trace) {
        drop(frame); /* the suite traces: its trace function stays */
        return;
    }
    if (unwound != NULL) {
        drop(unwound);
        Py_DECREF(unwound);
    }
    unwound = Py_NewRef(frame);
    PyEval_SetTrace(trace, NULL);
}

static void handle_call(PyObject *frame, PyObject *code, enum verdict verdict)
{
    /* A generator that goes on may be an awaited one. */
    if (verdict == DONE && !(((PyCodeObject *)code)->co_flags & CO_GENERATOR && is_awaited(frame)))
        return;
    PyObject *awaited = PyObject_CallOneArg(on_call, frame);
    if (awaited == NULL) {
        PyErr_Clear();
        drop(frame);
        return;
    }
    if (awaited == Py_None)
        set_verdict(code, DONE);
    else if (verdict == UNKNOWN)
        set_verdict(code, WANTED);
    Py_DECREF(awaited);
}

static void handle_return(PyObject *frame, PyObject *value)
{
    if (!is_awaited(frame))
        return;
    if (value != NULL)
        tell_end(frame, value, Py_None);
    else
        await_exception(frame);
}

/* Never fails: a failure would end the tracing, inside the project's code. */
static int profile(PyObject *self, PyFrameObject *frame, int what, PyObject *argument)
{
    (void)self;
    if (what != PyTrace_CALL && what != PyTrace_RETURN)
        return 0;
    PyObject *code = (PyObject *)PyFrame_GetCode(frame);
    enum verdict verdict = verdict_of(code);
    if (what == PyTrace_CALL)
        handle_call((PyObject *)frame, code, verdict);
    else if (verdict != UNKNOWN)
        handle_return((PyObject *)frame, argument);
    Py_DECREF(code);
    return 0;
}

PyDoc_STRVAR(configure_doc, "configure_profiler(on_call, on_return, pending): on_call(frame) says True, False or None (never again);\n"
                            "on_return(frame, value, exception); pending: a dict whose keys are the awaited frames.");

static PyObject *configure(PyObject *module, PyObject *args)
{
    PyObject *call, *end, *frames;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO!", &call, &end, &PyDict_Type, &frames))
        return NULL;
    tracer_number++; /* what an earlier tracer thought of a code object is forgotten */
    if (extra_index < 0)
        extra_index = _PyEval_RequestCodeExtraIndex(NULL);
    if (extra_index < 0) {
        PyErr_SetString(PyExc_RuntimeError, "code objects can keep no more");
        return NULL;
    }
    Py_XSETREF(on_call, Py_NewRef(call));
    Py_XSETREF(on_return, Py_NewRef(end));
    Py_XSETREF(pending, Py_NewRef(frames));
    Py_RETURN_NONE;
}

static PyObject *start(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    if (on_call == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "configure_profiler comes first");
        return NULL;
    }
    PyEval_SetProfile(profile, NULL);
    Py_RETURN_NONE;
}

static PyObject *stop(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    PyThreadState *thread = PyThreadState_Get();
    if (thread->c_profilefunc == profile)
        PyEval_SetProfile(NULL, NULL);
    if (thread->c_tracefunc == trace)
        PyEval_SetTrace(NULL, NULL);
    Py_CLEAR(unwound);
    Py_RETURN_NONE;
}

static PyObject *is_running(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyBool_FromLong(PyThreadState_Get()->c_profilefunc == profile);
}

PyMethodDef PROFILER_METHODS[] = {
    {"configure_profiler", configure, METH_VARARGS, configure_doc},
    {"start_profiler", start, METH_NOARGS, "Trace this thread."},
    {"stop_profiler", stop, METH_NOARGS, "Trace this thread no longer; a profile function of somebody else's stays."},
    {"is_profiling", is_running, METH_NOARGS, "Whether this thread is traced."},
    {NULL, NULL, 0, NULL},
};

#endif
