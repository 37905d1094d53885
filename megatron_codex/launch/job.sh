# ---- From here on every job is the same (megatron_codex/launch/job.sh).

job=$SLURM_JOB_ID task=${SLURM_ARRAY_TASK_ID:-0} restarts=${SLURM_RESTART_COUNT:-0}
export MCX_FIRST_END="$launch_dir/$name.ends/$job-$restarts"
mkdir -p "$launch_dir/$name.ends" "$done_dir"

# tell EVENT [DETAIL]: a line of the history, which `launch.py status` reads.
tell() {
    local now
    set -- "$1" "${2//[$'\t\n']/ }"
    TZ=UTC printf -v now '%(%Y-%m-%dT%H:%M:%SZ)T' -1 # by the shell: SLURM's signals end whatever it starts
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$now" "$job" "$task" "$restarts" "$1" "${2:-}" >>"$launch_dir/$name.history"
    echo "== $now $1${2:+: $2}"
}

# fail CODE REASON: the job has failed for good.
fail() {
    tell failed "$2"
    if [ -n "$on_failure" ]; then
        MCX_JOB_ID=$job MCX_NAME=$name MCX_RUN_DIR=$run_dir MCX_EXIT_CODE=$1 MCX_REASON=$2 MCX_RESTARTS=$restarts \
            MCX_LOG=$log timeout --signal=KILL "$on_failure_timeout_s" bash -c "$on_failure" ||
            echo "== on_failure ended with exit code $?; its limit is $on_failure_timeout_s s"
    fi
    exit "$1"
}

# is_queued: whether SLURM itself has queued the job again: the node of a lost rank is lost, and it was quicker.
is_queued() {
    scontrol show job --oneliner "$job" | grep -qE " (JobState=(PENDING|REQUEUED)|Restarts=$((restarts + 1))) "
}

# stopped CODE: SLURM ends the job, and decides what becomes of it.
stopped() {
    tell stopped "by SLURM: scancel, requeue or preemption"
    exit "$1"
}

# back CODE REASON: into the queue again, with the same number, so that jobs which wait for this one go on waiting.
back() {
    [ "$restarts" -lt "$max_requeues" ] || fail "$1" "$2; it was queued again $restarts times, which is the most"
    tell requeued "$2"
    # SLURM now ends this script and what it has started, by SIGTERM, then by SIGKILL: what is still to be known is found
    # out before, and what is still to be done is done again until it was. Nodes can be kept out of a waiting job only.
    local tries bad=""
    [ ! -f "$bad_nodes" ] || bad=$(cut -f1 "$bad_nodes" | cut -d' ' -f1 | sort -u | paste -sd,)
    if ! scontrol requeue "$job" && ! is_queued; then
        [ "$told" != TERM ] || stopped "$1"
        fail "$1" "$2; and SLURM does not queue it again"
    fi
    for tries in $(seq 20); do
        if [ -z "$bad" ] || scontrol update JobId="$job" ExcNodeList="${exclude:+$exclude,}$bad"; then break; fi
        sleep 0.5
    done
    exit "$1"
}

# The first signal counts, but for TERM, which scancel, scontrol requeue and preemption send: SLURM tells the ranks itself,
# and the script must not queue the job again. Both are listened for all the time; unheard they would end the script.
told="" ranks=""
trap 'heard TERM' TERM
trap 'heard USR1' USR1
heard() {
    [ "$told" = TERM ] || told=$1
    if [ "$1" = USR1 ]; then
        tell told "the time limit is near: ranks save and end"
        touch "$MCX_FIRST_END.told" # for ranks that are not there yet
        [ -z "$ranks" ] || pass_on USR1
    fi
}

# run COMMAND...: start the ranks and wait for them; their exit code, that of the first to end badly, is in $code, and how
# they ended in $how. A signal ends `wait`, not the ranks: they are waited for again, however many signals come. A shell
# of their own writes down their exit code: `wait` of bash 5.2 forgets it when a signal comes just as they end.
run() {
    local status number node
    rm -rf "$MCX_FIRST_END" "$MCX_FIRST_END.code"
    if [ -n "$told" ]; then
        code=75 how="SIG$told came before its ranks started"
        return
    fi
    (
        trap : USR1 TERM
        (echo "$BASHPID" >"$MCX_FIRST_END.pid" && start "$@")
        status=$?
        echo "$status" >"$MCX_FIRST_END.code"
        exit "$status"
    ) &
    ranks=$!
    while kill -0 "$ranks" 2>/dev/null; do
        wait "$ranks"
        status=$?
    done
    ranks=""
    read -r code 2>/dev/null <"$MCX_FIRST_END.code" || code=$status
    how="exit code $code"
    if [ "$code" != 0 ] && read -r number node status 2>/dev/null <"$MCX_FIRST_END/end"; then
        code=$status
        how="rank $number on $node was the first to end, with exit code $code"
        [ "$code" -le 128 ] || how="$how (signal $((code - 128)))"
    fi
}

# judge: what becomes of the job, by $code.
judge() {
    case "$code" in
        0) return ;;
        2) fail 2 "bad input ($how)" ;;
    esac
    [ "$told" != TERM ] || stopped "$code"
    case "$code" in
        75) back "$code" "stopped after saving ($how)" ;;
        76) back "$code" "a bad node is kept out: $(tail -n 1 "$bad_nodes" 2>/dev/null | cut -f1,3) ($how)" ;;
        77) back "$code" "hang ($how)" ;;
        78) back "$code" "lost ranks ($how)" ;;
    esac
    [ "$told" != USR1 ] || back "$code" "the time limit is near ($how)"
    [ "$code" -le 128 ] || back "$code" "lost ranks ($how)"
    fail "$code" "the work failed ($how)"
}

tell started "on $SLURM_JOB_NODELIST"
# SLURM itself starts a job again whose node is lost or that is preempted.
[ "$restarts" -le "$max_requeues" ] ||
    fail 1 "it was queued again $restarts times, and restarts.max_requeues is $max_requeues"
