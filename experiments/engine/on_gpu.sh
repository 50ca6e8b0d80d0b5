#!/usr/bin/env bash
# Everything that a borrowed GPU is needed for, in at most ten minutes: the tests and the benchmark.
#   OUT=folder BIN=.venv/bin bash experiments/engine/on_gpu.sh
# Writes logs, tables, CSV files and pictures below OUT; goes on where a part fails; ends with a summary.
set -u
cd "$(dirname "$0")/../.."
OUT=${OUT:-on_gpu}
BIN=${BIN:-.venv/bin}
mkdir -p "$OUT" || exit 1
OUT=$(cd "$OUT" && pwd)
BIN=$(cd "$BIN" && pwd) || exit 1
: > "$OUT/summary.txt"
failed=0

# part NAME SECONDS COMMAND...: runs the command so long at most; what it prints goes to OUT/NAME.txt.
part() {
  local name=$1 limit=$2 code=0 said before=$SECONDS
  shift 2
  echo "== $name"
  timeout -k 5 "$limit" "$@" > "$OUT/$name.txt" 2>&1 || code=$?
  [ "$code" -eq 0 ] || failed=1
  case $code in 0) said=done ;; 124 | 137) said="out of time ($limit s)" ;; *) said="failed ($code)" ;; esac
  printf '%-16s %4d s  %s: %s\n' "$name" $((SECONDS - before)) "$said" "$(tail -n 1 "$OUT/$name.txt")" \
    >> "$OUT/summary.txt"
}

bench() {
  local name=$1 limit=$2
  shift 2
  part "$name" "$limit" "$BIN/gatewise" bench engine device=cuda cell=LSTM,GRU "file=$OUT/$name.csv" "$@"
}

part machine 15 nvidia-smi
part tests 170 "$BIN/pytest" -q -m gpu -n auto --maxprocesses 12 --maxfail=20 --timeout=60 tests
bench bf16 150 dtype=bfloat16 lengths=full,ragged seconds=120
bench tf32 150 dtype=tf32 lengths=full,ragged seconds=120
bench models_bf16 35 dtype=bfloat16 models=1,8,32 rounds=3 seconds=20
bench models_tf32 35 dtype=tf32 models=1,8,32 rounds=3 seconds=20

echo
cat "$OUT/summary.txt"
exit $failed
