#!/usr/bin/env bash
# Two hosts with a cable between them, made of network namespaces on this machine: one run over both by torchrun.
# Proves: figures as on one host to the last digit, one run folder, one cache build, a killed process ends the job with
# a message, and one process goes on where two were. Run by `make test-nodes`; needs root and `ip netns`.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
if [ "$(id -u)" != 0 ] || ! ip netns add pulmo_probe 2>/dev/null; then
  echo "left out: network namespaces need root and iproute2 (sudo make test-nodes)"
  exit 0
fi
ip netns del pulmo_probe

work=$(mktemp -d)
clean() {
  for host in 0 1; do
    ip netns pids "pulmo$host" 2>/dev/null | xargs --no-run-if-empty kill -9 || true
    ip netns del "pulmo$host" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap clean EXIT
ip link add pulmo0 type veth peer name pulmo1
for host in 0 1; do
  ip netns add "pulmo$host"
  ip link set "pulmo$host" netns "pulmo$host"
  ip -n "pulmo$host" address add "10.77.0.$((host + 1))/24" dev "pulmo$host"
  ip -n "pulmo$host" link set "pulmo$host" up
  ip -n "pulmo$host" link set lo up
done
echo "two hosts: 10.77.0.1 and 10.77.0.2"

export OMP_NUM_THREADS=1
train=$PWD/train.py
export PYTHONPATH=$PWD/src
cd "$work"
"$python" -c 'from pathlib import Path; from pulmo.phantom.rsna import write_rsna; write_rsna(Path("rsna"), images=40, size=96)'
small="data.root=$work/rsna model=custom_cnn model.input.size=32 model.net.dropout=0 data.batch_size=8 strategy=ddp_cpu
  trainer.precision=32-true data.val_fraction=0.3 callbacks.progress_bar=null"

on_both() { # NAME ARGUMENTS: start on both hosts, wait for both; statuses in $status0 and $status1
  local name=$1 host
  shift
  for host in 0 1; do
    ip netns exec "pulmo$host" env GLOO_SOCKET_IFNAME="pulmo$host" "$python" -m torch.distributed.run \
      --nnodes 2 --nproc-per-node 1 --node-rank "$host" --master-addr 10.77.0.1 --master-port 29400 \
      "$train" $small trainer.num_nodes=2 trainer.devices=1 "$@" > "$name$host.log" 2>&1 &
    declare -g "pid$host=$!"
  done
  status0=0 status1=0
  wait "$pid0" || status0=$?
  wait "$pid1" || status1=$?
}

fail() { echo "FAILED: $1"; tail -n 25 ./*.log; exit 1; }

on_both hosts data.cache_dir="$work/cache_hosts" trainer.max_epochs=2
[ "$status0$status1" = 00 ] || fail "the run over two hosts"
runs=(outputs/rsna_custom_cnn/*)
[ "${#runs[@]}" = 1 ] || fail "one run folder: ${runs[*]}"
echo "one run folder: ${runs[0]}, $(grep -o '.* an update' "${runs[0]}/train.log")"

"$python" "$train" $small data.cache_dir="$work/cache_one" trainer.max_epochs=2 run_dir="$work/one" > one.log 2>&1 || fail "one host"
"$python" - "${runs[0]}" one <<'PYTHON' || fail "figures"
import json, pathlib, sys
hosts, one = (pathlib.Path(path) for path in sys.argv[1:])
figures = [json.loads((run / "metrics.json").read_text()) for run in (hosts, one)]
same = [{name: value for name, value in part.items() if name.startswith(("val/", "test/", "threshold"))} for part in figures]
assert same[0] == same[1], same
for name in ("predictions_val.csv", "predictions_test.csv", "split.csv"):
    assert (hosts / name).read_bytes() == (one / name).read_bytes(), name
print(f"{len(same[0])} figures and all predictions as on one host, to the last digit: test/auroc {same[0]['test/auroc']}")
PYTHON

built=(cache_hosts/*/images.npy)
[ "${#built[@]}" = 1 ] || fail "one cache: ${built[*]}"
"$python" - cache_hosts/*/notes.jsonl <<'PYTHON' || fail "one build"
import collections, json, pathlib, sys
rows = [json.loads(line)["row"] for line in pathlib.Path(sys.argv[1]).read_text().splitlines() if line]
assert rows and max(collections.Counter(rows).values()) == 1, rows
print(f"one cache build: each of {len(rows)} images was noted once")
PYTHON

rm -rf outputs
(
  until compgen -G 'outputs/*/*/checkpoints/last.ckpt' > /dev/null; do sleep 0.2; done
  victim=$(ip netns pids pulmo1 | while read -r pid; do
    tr '\0' '\n' < "/proc/$pid/environ" | grep -q '^LOCAL_RANK=' && echo "$pid"; done | head -n 1)
  kill -9 "$victim"
  date +%s > killed
) &
on_both killed data.cache_dir="$work/cache_hosts" trainer.max_epochs=2000
seconds=$(($(date +%s) - $(cat killed)))
[ "$status0" != 0 ] && [ "$status1" != 0 ] || fail "a killed process ends the job: $status0 $status1"
grep -h '^pulmo: process 2 of 2 ended' killed0.log || fail "the message"
grep -q '^\[rank\|gloo' killed0.log killed1.log && fail "a trace of torch in front of the user"
echo "both hosts ended within $seconds s of the kill"

done_epochs=$(($(wc -l < outputs/*/*/history.csv) - 1))
ip netns exec pulmo1 "$python" "$train" resume=last strategy=cpu trainer.num_nodes=1 \
  trainer.max_epochs=$((done_epochs + 2)) > resumed.log 2>&1 || fail "resume=last"
runs=(outputs/rsna_custom_cnn/*)
[ "${#runs[@]}" = 1 ] || fail "one run folder after resume"
[ "$(wc -l < outputs/*/*/history.csv)" = $((done_epochs + 3)) ] || fail "the epochs went on"
echo "one process went on after epoch $done_epochs: $(grep -o '.* an update' "${runs[0]}/train.log" | tail -n 1)"
