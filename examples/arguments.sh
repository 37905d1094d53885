# The arguments of an example, for sourcing: sets RUN (given as the default) and SEED (1) from [--run-dir DIR] [--seed N].
# --help prints the comment that the script begins with.

SEED=1
while [ $# -gt 0 ]; do
    case "$1" in
        --run-dir) RUN="${2:?--run-dir needs a folder}"; shift 2 ;;
        --seed) SEED="${2:?--seed needs a number}"; shift 2 ;;
        -h | --help) sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "examples/${0##*/}"; exit 0 ;;
        *) echo "error: $1: unknown argument; see --help" >&2; exit 2 ;;
    esac
done
[[ "$SEED" =~ ^[0-9]{1,9}$ ]] || { echo "error: --seed: got '$SEED'; must be a whole number; for example 1" >&2; exit 2; }
