/* Frames on a socket, as megatron_codex/sandbox/frames.py has them: 4 bytes of length (big-endian), then that much JSON. */

#ifndef MEGATRON_CODEX_SANDBOX_CHANNEL_H
#define MEGATRON_CODEX_SANDBOX_CHANNEL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "tagged.h"

enum { HEADER_BYTES = 4, MAX_FRAME_BYTES = 8 << 20 };

/* The bytes of the next frame; NULL at the end of the channel, and with an exception: OSError, or ValueError when a frame
   is announced that is too large. */
PyObject *receive_frame(int channel);

/* Make room for the header of a frame; returns where it begins, or -1 when there is no memory. */
Py_ssize_t begin_frame(struct output *output);

/* 0; or -1 when what was written since begin_frame is too large. */
int end_frame(struct output *output, Py_ssize_t begin);

/* Send all that was written, and forget it. 0, or -1 with an exception. */
int send_output(int channel, struct output *output);

#endif
