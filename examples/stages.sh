# Stages of a run, for sourcing: each runs once, writes RUN/<stage>/ and a log, and is reused while nothing before it changed.
# Needs: RUN, the run's folder.

mkdir -p "$RUN/logs" "$RUN/.stages"
[ -t 2 ] && export MCX_PROGRESS=bar # the bars go through tee, which hides the terminal from the tools
STAGE_KEY=""
RUN_START=$SECONDS

# stage NAME COMMAND...: run COMMAND, which writes RUN/NAME, unless it did so before with the same arguments and config
# files and after the same stages. An unfinished output is removed first.
stage() {
    begin_stage restart "$@" || return 0
    run_stage "$@"
}

# resumable NAME COMMAND...: as stage, but an unfinished output stays and COMMAND continues it.
resumable() {
    begin_stage resume "$@" || return 0
    run_stage "$@"
}

# lane COMMAND...: run COMMAND, a function of stages, beside what follows it; `join_lanes` waits for every lane. The stages
# after the join depend on all that ran in the lanes.
LANES=()
lane() {
    local key_file="$RUN/.stages/lane_${#LANES[@]}.key"
    { "$@"; echo "$STAGE_KEY" >"$key_file"; } &
    LANES+=($!)
}
join_lanes() {
    local lane failed=0
    for lane in "${LANES[@]}"; do wait "$lane" || failed=1; done
    [ "$failed" = 0 ] || exit 1
    for lane in "${!LANES[@]}"; do STAGE_KEY+=" $(cat "$RUN/.stages/lane_$lane.key")"; done
    LANES=()
}

# Ctrl-C and SIGTERM end the lanes with the script (a shell starts them with Ctrl-C ignored).
stop() {
    trap - INT TERM
    local lane
    for lane in "${LANES[@]}"; do end_tree "$lane"; done
    exit "$1"
}
end_tree() {
    local child
    for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do end_tree "$child"; done
    kill -TERM "$1" 2>/dev/null || true
}
trap 'stop 130' INT
trap 'stop 143' TERM

# Say what begins and make its place ready; false (and done) when it was done before.
begin_stage() {
    local mode="$1" name="$2" mark="$RUN/.stages/$2"
    shift 2
    STAGE_KEY="$({ echo "$STAGE_KEY"; printf '%s\n' "$@"; config_texts "$@"; } | sha256sum | cut -d' ' -f1)"
    if [ "$(cat "$mark.done" 2>/dev/null)" = "$STAGE_KEY" ]; then
        echo "== $name: done before"
        return 1
    fi
    if [ "$mode" = restart ] || [ "$(cat "$mark.started" 2>/dev/null)" != "$STAGE_KEY" ]; then
        rm -rf "${RUN:?}/$name"
    fi
    rm -f "$mark.done"
    echo "$STAGE_KEY" >"$mark.started"
    echo "== $name"
}

run_stage() {
    local name="$1" log="$RUN/logs/$1.log" mark="$RUN/.stages/$1" start=$SECONDS
    shift
    printf '$ %s\n' "$*" >"$log"
    if ! logged "$log" "$@"; then
        echo "error: stage $name failed; the end of its log $log:" >&2
        tail -n 5 "$log" >&2
        exit 1
    fi
    mv "$mark.started" "$mark.done"
    echo "   $name: $((SECONDS - start)) s"
}

# The command's stdout goes to the terminal and the log, its stderr to the log (and to a terminal, for the bars).
logged() {
    local log="$1"
    shift
    if [ -t 2 ]; then
        "$@" 2> >(tee -a "$log" >&2) | tee -a "$log" | sed 's/^/   /'
    else
        "$@" 2>>"$log" | tee -a "$log" | sed 's/^/   /'
    fi
}

config_texts() {
    local argument
    for argument in "$@"; do
        case "$argument" in *.yaml) cat "$argument" ;; esac
    done
}

# fetch_sdist NAME VERSION FOLDER: download a source distribution from your package index, once; prints its path.
fetch_sdist() {
    local name="$1" version="$2" folder="$3"
    if ! compgen -G "$folder/$name-$version.tar.gz" >/dev/null; then
        echo "set-up: fetching the source distribution of $name $version" >&2
        pip download --disable-pip-version-check --quiet --no-deps --no-binary :all: --dest "$folder" \
            "$name==$version" >&2 \
            || { echo "error: set-up: pip could not download $name $version; is a package index reachable?" >&2; exit 1; }
    fi
    echo "$folder/$name-$version.tar.gz"
}
