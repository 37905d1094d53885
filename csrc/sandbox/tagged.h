/* Values of the exact builtin types as tagged JSON, and back: the common cases of megatron_codex/tagged.py.

   What is not handled here is no error: the caller leaves it to the Python code, which defines every form. This runs in
   a candidate's process, after its program was loaded; nobody trusts what comes out. */

#ifndef MEGATRON_CODEX_SANDBOX_TAGGED_H
#define MEGATRON_CODEX_SANDBOX_TAGGED_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

enum { MAX_DEPTH = 100, MAX_ITEMS = 1000000 }; /* at most those of tagged.py */

/* JSON text that is being read. */
struct text {
    const char *at, *end;
};

/* Text that is being written. */
struct output {
    char *bytes;
    size_t size, room;
};

/* float.hex and float.fromhex are looked up, before there is any program. 0, or -1 with an exception. */
int prepare_writing(void);
int prepare_reading(void);

void skip_space(struct text *text);

/* Whether the next character, white space apart, is this one; it is taken. */
int take(struct text *text, char wanted);

/* Whether the next key of an object is this one, in its quotes; it is taken with its colon. */
int take_key(struct text *text, const char *key);

/* A string of JSON, or NULL. */
PyObject *read_string(struct text *text);

/* The value that the next form stands for, or NULL: an exception may be set. items: counted up. */
PyObject *read_form(struct text *text, int *items, int depth);

/* Go behind the next value of JSON, which need not be well-formed inside. 0, or -1. */
int skip_value(struct text *text);

/* 0, or -1 when there is no memory. */
int put(struct output *output, const char *bytes, size_t size);

/* The same, of digits. Not by snprintf, whose code would be four more pages. */
int put_integer(struct output *output, long long value);

/* Append the form of an exact str, int or float. 0, or -1, as write_form. */
int write_string(struct output *output, PyObject *string);
int write_integer(struct output *output, PyObject *integer);
int write_float(struct output *output, PyObject *value);

/* Append what json.dumps(encode(value)) gives. 0, or -1: an exception may be set, and a part was written. */
int write_form(struct output *output, PyObject *value, int *items, int depth);

#endif
