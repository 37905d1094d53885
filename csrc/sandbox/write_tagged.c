/* In: Python values. Out: tagged JSON, byte for byte as json.dumps(tagged.encode(value)) writes it. -1 for every value
   that is rare or no plain data. No code of the program's own runs meanwhile, so that no value changes. */

#include "tagged.h"

#include <string.h>

static const long long EXACT_INTEGERS = 1LL << 53;
static PyObject *float_hex;

int prepare_writing(void)
{
    float_hex = PyObject_GetAttrString((PyObject *)&PyFloat_Type, "hex");
    return float_hex == NULL ? -1 : 0;
}

int put(struct output *output, const char *bytes, size_t size)
{
    if (output->room - output->size < size) {
        size_t room = 2 * (output->size + size) + 2048;
        char *larger = PyMem_RawRealloc(output->bytes, room);
        if (larger == NULL)
            return -1;
        output->bytes = larger;
        output->room = room;
    }
    memcpy(output->bytes + output->size, bytes, size);
    output->size += size;
    return 0;
}

int put_integer(struct output *output, long long value)
{
    char digits[24], *first = digits + sizeof digits;
    unsigned long long rest = value < 0 ? -(unsigned long long)value : (unsigned long long)value;
    do
        *--first = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (value < 0)
        *--first = '-';
    return put(output, first, (size_t)(digits + sizeof digits - first));
}

static int put_unit(struct output *output, Py_UCS4 unit)
{
    static const char digits[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', digits[unit >> 12 & 15], digits[unit >> 8 & 15], digits[unit >> 4 & 15], digits[unit & 15]};
    return put(output, text, sizeof text);
}

static int put_character(struct output *output, Py_UCS4 character)
{
    static const char special[] = "\"\\\n\r\t\f\b", letters[] = "\"\\nrtfb";
    const char *found = character == 0 || character >= 0x80 ? NULL : strchr(special, (int)character);
    if (found != NULL)
        return put(output, (char[]){'\\', letters[found - special]}, 2);
    if (character >= ' ' && character <= '~')
        return put(output, (char[]){(char)character}, 1);
    if (character < 0x10000)
        return put_unit(output, character);
    character -= 0x10000;
    return put_unit(output, 0xD800 + (character >> 10)) != 0 ? -1 : put_unit(output, 0xDC00 + (character & 0x3FF));
}

int write_string(struct output *output, PyObject *string)
{
    if (PyUnicode_READY(string) != 0 || put(output, "\"", 1) != 0)
        return -1;
    int kind = PyUnicode_KIND(string);
    const void *data = PyUnicode_DATA(string);
    Py_ssize_t length = PyUnicode_GET_LENGTH(string);
    for (Py_ssize_t i = 0; i < length; i++)
        if (put_character(output, PyUnicode_READ(kind, data, i)) != 0)
            return -1;
    return put(output, "\"", 1);
}

int write_integer(struct output *output, PyObject *integer)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(integer, &overflow);
    if (overflow != 0 || value <= -EXACT_INTEGERS || value >= EXACT_INTEGERS)
        return -1;
    return put_integer(output, value);
}

int write_float(struct output *output, PyObject *value)
{
    PyObject *digits = PyObject_CallOneArg(float_hex, value);
    int failed = digits == NULL || put(output, "{\"f\": ", 6) != 0 || write_string(output, digits) != 0 ||
                 put(output, "}", 1) != 0;
    Py_XDECREF(digits);
    return failed ? -1 : 0;
}

static int write_items(struct output *output, PyObject *sequence, int *items, int depth)
{
    if (put(output, "[", 1) != 0)
        return -1;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence); i++)
        if ((i > 0 && put(output, ", ", 2) != 0) ||
            write_form(output, PySequence_Fast_GET_ITEM(sequence, i), items, depth + 1) != 0)
            return -1;
    return put(output, "]", 1);
}

static int write_dict(struct output *output, PyObject *dict, int *items, int depth)
{
    PyObject *key, *value;
    Py_ssize_t place = 0;
    int first = 1;
    if (put(output, "{\"d\": [", 7) != 0)
        return -1;
    for (; PyDict_Next(dict, &place, &key, &value); first = 0)
        if (put(output, first ? "[" : ", [", first ? 1 : 3) != 0 || write_form(output, key, items, depth + 1) != 0 ||
            put(output, ", ", 2) != 0 || write_form(output, value, items, depth + 1) != 0 || put(output, "]", 1) != 0)
            return -1;
    return put(output, "]}", 2);
}

int write_form(struct output *output, PyObject *value, int *items, int depth)
{
    if (++*items > MAX_ITEMS || depth > MAX_DEPTH)
        return -1;
    if (value == Py_None)
        return put(output, "null", 4);
    if (PyBool_Check(value))
        return value == Py_True ? put(output, "true", 4) : put(output, "false", 5);
    if (PyUnicode_CheckExact(value))
        return write_string(output, value);
    if (PyLong_CheckExact(value))
        return write_integer(output, value);
    if (PyFloat_CheckExact(value))
        return write_float(output, value);
    if (PyList_CheckExact(value))
        return write_items(output, value, items, depth);
    if (PyTuple_CheckExact(value))
        return put(output, "{\"t\": ", 6) != 0 || write_items(output, value, items, depth) != 0 ? -1
                                                                                              : put(output, "}", 1);
    return PyDict_CheckExact(value) ? write_dict(output, value, items, depth) : -1;
}
