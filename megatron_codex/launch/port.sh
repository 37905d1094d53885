# The port where ranks meet (megatron_codex/launch/port.sh): below those that the kernel gives to outgoing connections, from
# the number of the job (each of an array has its own) and of its restarts on, the first that nobody uses on this node, the
# job's first, where rank 0 will listen. Jobs of this user that start here at the same time see each other's in a list.
choose_port() {
    local step=7919 first=$((SLURM_JOB_ID + 7919 * ${SLURM_RESTART_COUNT:-0})) folder=/tmp/megatron_codex-$UID used taken tries
    mkdir -m 700 "$folder" 2>/dev/null
    if [ ! -O "$folder" ] || [ -L "$folder" ]; then folder=$launch_dir; fi # another user made it
    # All sockets but those that only wait to be forgotten (06 is TIME_WAIT), port numbers in hexadecimal.
    used=$(awk 'FNR > 1 && $4 != "06" { sub(".*:", "", $2); print $2 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    {
        flock -w 60 9
        taken=$(while read -r port script; do [ ! -d "/proc/$script" ] || echo "$port $script"; done <"$folder/ports")
        for tries in $(seq 0 19999); do # the step has no divisor in common with 20000, so that it comes to all
            MASTER_PORT=$((10000 + (first + tries * step) % 20000))
            grep -qx "$(printf %04X "$MASTER_PORT")" <<<"$used" || grep -q "^$MASTER_PORT " <<<"$taken" || break
        done
        printf '%s\n' "$taken" "$MASTER_PORT $$" | sed '/^$/d' >"$folder/ports"
    } 9>>"$folder/ports"
}
mkdir -p "$launch_dir"
choose_port
