/* The Python module megatron_codex.sandbox._jail: arguments in, close_jail and serve called, errors out. The methods for
   judged processes are those of candidate.c and tester.c. */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "candidate.h"
#include "jail.h"
#include "program.h"
#include "tagged.h"
#include "tester.h"
#include "worker.h"

static int read_filter(const Py_buffer *buffer, struct sock_fprog *filter)
{
    if (buffer->len == 0 || buffer->len % (Py_ssize_t)sizeof(struct sock_filter) != 0) {
        PyErr_SetString(PyExc_ValueError, "the filter is no sequence of BPF instructions");
        return -1;
    }
    filter->len = (unsigned short)(buffer->len / (Py_ssize_t)sizeof(struct sock_filter));
    filter->filter = buffer->buf;
    return 0;
}

static int read_descriptors(PyObject *sequence, struct jail *jail)
{
    Py_ssize_t count = PyTuple_GET_SIZE(sequence);
    if (count > MAX_DESCRIPTORS) {
        PyErr_Format(PyExc_ValueError, "%zd descriptors; at most %d", count, MAX_DESCRIPTORS);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        jail->descriptors[i] = (int)PyLong_AsLong(PyTuple_GET_ITEM(sequence, i));
        if (jail->descriptors[i] < FIRST_DESCRIPTOR + count) {
            if (!PyErr_Occurred())
                PyErr_Format(PyExc_ValueError, "descriptor %d would be overwritten", jail->descriptors[i]);
            return -1;
        }
    }
    jail->num_descriptors = (int)count;
    return 0;
}

static int read_limits(PyObject *sequence, struct jail *jail)
{
    Py_ssize_t count = PyTuple_GET_SIZE(sequence);
    if (count > MAX_LIMITS) {
        PyErr_Format(PyExc_ValueError, "%zd limits; at most %d", count, MAX_LIMITS);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        long long value;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(sequence, i), "iL", &jail->limits[i].kind, &value))
            return -1;
        jail->limits[i].value = (rlim_t)value;
    }
    jail->num_limits = (int)count;
    return 0;
}

PyDoc_STRVAR(lock_down_doc,
             "Close the jail around this process, for good. descriptors become 3, 4, ...; output (or -1) 1 and 2.\n\n"
             "Raises: OSError naming the step that the kernel refused; ValueError for arguments of no sense.");

static PyObject *py_lock_down(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"output", "descriptors", "limits", "ruleset", "filter", NULL};
    struct jail jail;
    Py_buffer filter;
    PyObject *descriptors, *limits;
    (void)module;
    memset(&jail, 0, sizeof jail);
    jail.mounts = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$iO!O!iy*", keywords, &jail.output, &PyTuple_Type, &descriptors,
                                     &PyTuple_Type, &limits, &jail.ruleset, &filter))
        return NULL;
    if (read_filter(&filter, &jail.filter) != 0 || read_descriptors(descriptors, &jail) != 0 ||
        read_limits(limits, &jail) != 0) {
        PyBuffer_Release(&filter);
        return NULL;
    }
    const char *refused = close_jail(&jail);
    int number = errno;
    PyBuffer_Release(&filter);
    if (refused == NULL)
        Py_RETURN_NONE;
    PyObject *arguments = Py_BuildValue("(iN)", number, PyUnicode_FromFormat("%s: %s", refused, strerror(number)));
    if (arguments != NULL)
        PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

/* The worker has one thread and no function of os.register_at_fork (zygote.py looks), so a child's Python needs none of
   PyOS_AfterFork_Child, which would copy twenty pages. */
static pid_t fork_python(void *context)
{
    (void)context;
    return fork();
}

/* The errno of the exception that is set, which is cleared. */
static int take_errno(void)
{
    PyObject *kind, *error, *traceback;
    PyErr_Fetch(&kind, &error, &traceback);
    PyErr_NormalizeException(&kind, &error, &traceback);
    PyObject *number = error == NULL ? NULL : PyObject_GetAttrString(error, "errno");
    long value = number != NULL && PyLong_Check(number) ? PyLong_AsLong(number) : EIO;
    Py_XDECREF(number);
    Py_XDECREF(kind);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
    PyErr_Clear();
    return (int)value;
}

/* Call build_cell() -> (ruleset, mounts, scratch). */
static int build_cell(struct cell *cell, void *context)
{
    PyObject *made = PyObject_CallNoArgs(context);
    int parsed = made != NULL && PyArg_ParseTuple(made, "iii", &cell->ruleset, &cell->mounts, &cell->scratch);
    Py_XDECREF(made);
    if (parsed)
        return 0;
    errno = take_errno();
    return -1;
}

/* In a jailed child: become the role that it was sent, on its descriptors. Straight from here, since each Python function
   that would return first had its frame's objects, and so their pages, written to. */
static void run_role(PyObject *roles, const struct worker *worker)
{
    PyObject *descriptors[MAX_DESCRIPTORS];
    PyObject *name = PyBytes_FromStringAndSize(worker->payload, worker->payload_bytes);
    PyObject *role = name == NULL ? NULL : PyDict_GetItem(roles, name);
    for (int i = 0; i < worker->num_descriptors; i++)
        if ((descriptors[i] = PyLong_FromLong(FIRST_DESCRIPTOR + 1 + i)) == NULL) /* the first said "ready" */
            role = NULL;
    if (role != NULL)
        PyObject_Vectorcall(role, descriptors, (size_t)worker->num_descriptors, NULL);
    _exit(1); /* a role ends its process itself */
}

PyDoc_STRVAR(serve_doc,
             "Serve the driver; returns when it is gone.\n\n"
             "roles: of bytes that a request has to functions, one of which each jailed child becomes: it gets the\n"
             "numbers of its descriptors, and must end the process. connection: SOCK_SEQPACKET; driver: its pidfd;\n"
             "own_pidfd: -1 without pid namespaces; directory: of a child; build_cell: called for (ruleset, mounts,\n"
             "scratch), descriptors or -1. Raises: OSError, when it cannot go on.");

static PyObject *py_serve(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"connection", "driver", "own_pidfd", "directory", "filter", "build_cell", "roles", NULL};
    static struct worker worker; /* one a process; too large for a stack */
    Py_buffer filter;
    PyObject *callback, *roles;
    (void)module;
    memset(&worker, 0, sizeof worker);
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$iiisy*OO!", keywords, &worker.connection, &worker.driver,
                                     &worker.own_pidfd, &worker.directory, &filter, &callback, &PyDict_Type, &roles))
        return NULL;
    if (read_filter(&filter, &worker.filter) != 0) {
        PyBuffer_Release(&filter);
        return NULL;
    }
    worker.build_cell = build_cell;
    worker.fork = fork_python;
    worker.context = callback;
    int result = serve(&worker);
    if (result == 1)
        run_role(roles, &worker);
    int number = errno;
    PyBuffer_Release(&filter);
    if (result == 0)
        Py_RETURN_NONE;
    errno = number;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyMethodDef METHODS[] = {
    {"lock_down", (PyCFunction)(void (*)(void))py_lock_down, METH_VARARGS | METH_KEYWORDS, lock_down_doc},
    {"serve", (PyCFunction)(void (*)(void))py_serve, METH_VARARGS | METH_KEYWORDS, serve_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_jail", "Closing the jail, the worker's loop, a candidate's calls.", -1,
                                    METHODS, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__jail(void)
{
    PyObject *module = PyModule_Create(&MODULE);
    if (module != NULL && ((prepare_writing() != 0 || prepare_reading() != 0) || PyModule_AddStringConstant(module, "PROGRAM", PROGRAM) != 0 ||
                           PyModule_AddFunctions(module, CANDIDATE_METHODS) != 0 ||
                           PyModule_AddFunctions(module, TESTER_METHODS) != 0))
        Py_CLEAR(module);
    return module;
}
