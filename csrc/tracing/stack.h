/* How much of a thread's C stack is left: under a frame evaluator each call of a Python function takes some of it. */

#ifndef MEGATRON_CODEX_TRACING_STACK_H
#define MEGATRON_CODEX_TRACING_STACK_H

/* Whether less is left than a call may need. */
int is_stack_used_up(void);

#endif
