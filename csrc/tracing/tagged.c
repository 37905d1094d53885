/* The sandbox's writer of tagged JSON, compiled into this module, too. */

#include "../sandbox/write_tagged.c"
