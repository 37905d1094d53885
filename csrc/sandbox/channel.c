#include "channel.h"

#include <errno.h>
#include <unistd.h>

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

PyObject *receive_frame(int channel)
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

Py_ssize_t begin_frame(struct output *output)
{
    Py_ssize_t begin = (Py_ssize_t)output->size;
    return put(output, "\0\0\0\0", HEADER_BYTES) == 0 ? begin : -1;
}

int end_frame(struct output *output, Py_ssize_t begin)
{
    size_t size = output->size - (size_t)begin - HEADER_BYTES;
    for (int i = 0; i < HEADER_BYTES; i++)
        output->bytes[begin + i] = (char)(size >> (24 - 8 * i) & 0xFF);
    return size <= MAX_FRAME_BYTES ? 0 : -1;
}

int send_output(int channel, struct output *output)
{
    size_t done = 0;
    while (done < output->size) {
        ssize_t sent;
        Py_BEGIN_ALLOW_THREADS
        sent = write(channel, output->bytes + done, output->size - done);
        Py_END_ALLOW_THREADS
        if (sent >= 0) {
            done += (size_t)sent;
        } else if (errno != EINTR || PyErr_CheckSignals() != 0) {
            if (!PyErr_Occurred())
                PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
    }
    output->size = 0;
    return 0;
}
