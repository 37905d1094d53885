/* In: tagged JSON as json.dumps writes it. Out: Python values. NULL for every form that is rare or wrong. */

#include "tagged.h"

#include <string.h>

static PyObject *float_from_hex;

int prepare_reading(void)
{
    float_from_hex = PyObject_GetAttrString((PyObject *)&PyFloat_Type, "fromhex");
    return float_from_hex == NULL ? -1 : 0;
}

void skip_space(struct text *text)
{
    while (text->at < text->end && (*text->at == ' ' || *text->at == '\n' || *text->at == '\t' || *text->at == '\r'))
        text->at++;
}

int take(struct text *text, char wanted)
{
    skip_space(text);
    if (text->at == text->end || *text->at != wanted)
        return 0;
    text->at++;
    return 1;
}

int take_key(struct text *text, const char *key)
{
    size_t length = strlen(key);
    skip_space(text);
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, key, length) != 0)
        return 0;
    text->at += length;
    return take(text, ':');
}

/* ---- strings ---- */

static int hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

/* The four digits behind \u, or -1. */
static long read_unit(const char *at, const char *end)
{
    long unit = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* One character inside of quotes, which is taken; -1 at what is no ASCII JSON. */
static long read_character(struct text *text)
{
    static const char escapes[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    if (text->at == text->end)
        return -1;
    unsigned char first = (unsigned char)*text->at++;
    if (first != '\\')
        return first >= ' ' && first < 0x80 ? first : -1;
    if (text->at == text->end)
        return -1;
    char kind = *text->at++;
    if (kind != 'u') {
        const char *found = kind == '\0' ? NULL : strchr(escapes, kind);
        return found == NULL ? -1 : meant[found - escapes];
    }
    long high = read_unit(text->at, text->end);
    if (high < 0)
        return -1;
    text->at += 4;
    if (high >= 0xD800 && high < 0xDC00 && text->end - text->at >= 6 && text->at[0] == '\\' && text->at[1] == 'u') {
        long low = read_unit(text->at + 2, text->end);
        if (low >= 0xDC00 && low < 0xE000) {
            text->at += 6;
            return 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    return high;
}

PyObject *read_string(struct text *text)
{
    Py_ssize_t length = 0;
    long highest = 0;
    if (!take(text, '"'))
        return NULL;
    struct text again = *text;
    while (text->at < text->end && *text->at != '"') {
        long character = read_character(text);
        if (character < 0)
            return NULL;
        highest = character > highest ? character : highest;
        length++;
    }
    if (!take(text, '"'))
        return NULL;
    PyObject *string = PyUnicode_New(length, (Py_UCS4)highest);
    if (string == NULL || length == 0)
        return string;
    int kind = PyUnicode_KIND(string);
    void *data = PyUnicode_DATA(string);
    for (Py_ssize_t i = 0; i < length; i++)
        PyUnicode_WRITE(kind, data, i, (Py_UCS4)read_character(&again));
    return string;
}

int skip_value(struct text *text)
{
    long depth = 0;
    skip_space(text);
    while (text->at < text->end) {
        char next = *text->at;
        if (next == '"') {
            do {
                text->at += *text->at == '\\' ? 2 : 1;
                if (text->at >= text->end)
                    return -1;
            } while (*text->at != '"');
        } else if (next == '[' || next == '{') {
            depth++;
        } else if (next == ']' || next == '}') {
            if (--depth < 0)
                return 0; /* of what holds a bare number */
        } else if (depth == 0 && next == ',') {
            return 0;
        }
        text->at++;
        if (depth == 0 && (next == '"' || next == ']' || next == '}'))
            return 0;
    }
    return depth == 0 ? 0 : -1;
}

/* ---- values ---- */

static PyObject *read_word(struct text *text, const char *word, PyObject *value)
{
    size_t length = strlen(word);
    if ((size_t)(text->end - text->at) < length || memcmp(text->at, word, length) != 0)
        return NULL;
    text->at += length;
    Py_INCREF(value);
    return value;
}

static PyObject *read_integer(struct text *text)
{
    long long value = 0;
    int num_digits = 0, negative = text->at < text->end && *text->at == '-';
    text->at += negative;
    for (; text->at < text->end && *text->at >= '0' && *text->at <= '9'; text->at++) {
        value = value * 10 + (*text->at - '0');
        if (++num_digits > 18)
            return NULL;
    }
    if (num_digits == 0 || (text->at < text->end && (*text->at == '.' || *text->at == 'e' || *text->at == 'E')))
        return NULL;
    return PyLong_FromLongLong(negative ? -value : value);
}

static PyObject *read_items(struct text *text, int *items, int depth)
{
    if (!take(text, '['))
        return NULL;
    PyObject *list = PyList_New(0);
    if (list == NULL || take(text, ']'))
        return list;
    do {
        PyObject *item = read_form(text, items, depth + 1);
        int failed = item == NULL || PyList_Append(list, item) != 0;
        Py_XDECREF(item);
        if (failed)
            goto wrong;
    } while (take(text, ','));
    if (take(text, ']'))
        return list;
wrong:
    Py_DECREF(list);
    return NULL;
}

static int read_pair(struct text *text, PyObject *dict, int *items, int depth)
{
    PyObject *key = NULL, *value = NULL;
    int failed = !take(text, '[') || (key = read_form(text, items, depth)) == NULL || !take(text, ',') ||
                 (value = read_form(text, items, depth)) == NULL || !take(text, ']') ||
                 PyDict_SetItem(dict, key, value) != 0;
    Py_XDECREF(key);
    Py_XDECREF(value);
    return failed ? -1 : 0;
}

static PyObject *read_dict(struct text *text, int *items, int depth)
{
    if (!take(text, '['))
        return NULL;
    PyObject *dict = PyDict_New();
    if (dict == NULL || take(text, ']'))
        return dict;
    do {
        if (read_pair(text, dict, items, depth + 1) != 0)
            goto wrong;
    } while (take(text, ','));
    if (take(text, ']'))
        return dict;
wrong:
    Py_DECREF(dict);
    return NULL;
}

static PyObject *read_float(struct text *text)
{
    PyObject *digits = read_string(text);
    PyObject *value = digits == NULL ? NULL : PyObject_CallOneArg(float_from_hex, digits);
    Py_XDECREF(digits);
    return value;
}

static PyObject *read_tuple(struct text *text, int *items, int depth)
{
    PyObject *list = read_items(text, items, depth);
    PyObject *tuple = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    return tuple;
}

/* {tag: payload}, behind its brace; tags of one letter only. */
static PyObject *read_tagged(struct text *text, int *items, int depth)
{
    if (!take(text, '"') || text->end - text->at < 2)
        return NULL;
    char tag = *text->at++;
    if (*text->at++ != '"' || !take(text, ':'))
        return NULL;
    PyObject *value = tag == 't'   ? read_tuple(text, items, depth)
                      : tag == 'd' ? read_dict(text, items, depth)
                      : tag == 'f' ? read_float(text)
                                   : NULL;
    if (value != NULL && !take(text, '}'))
        Py_CLEAR(value);
    return value;
}

PyObject *read_form(struct text *text, int *items, int depth)
{
    if (++*items > MAX_ITEMS || depth > MAX_DEPTH)
        return NULL;
    skip_space(text);
    if (text->at == text->end)
        return NULL;
    switch (*text->at) {
    case '"':
        return read_string(text);
    case '[':
        return read_items(text, items, depth);
    case '{':
        text->at++;
        return read_tagged(text, items, depth);
    case 'n':
        return read_word(text, "null", Py_None);
    case 't':
        return read_word(text, "true", Py_True);
    case 'f':
        return read_word(text, "false", Py_False);
    default:
        return read_integer(text);
    }
}
