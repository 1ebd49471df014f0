#!/bin/sh
# One virtual environment for each peer that benchmarks/simulation.py and benchmarks/masked.py run beside hansa:
#
#     benchmarks/peers.sh            flower and pfl
#     benchmarks/peers.sh pfl        one of them
#     benchmarks/peers.sh tenseal    for benchmarks/encrypted.py
#     benchmarks/peers.sh p2pfl      for benchmarks/gossip.py; it is GPL-3.0-only, so it runs in a process of its own
#
# They come to rest in benchmarks/.peers/NAME, or in $HANSA_PEERS/NAME. PYTHON names the interpreter (3.11 or 3.12).
# All of them compute with the torch and the numpy that hansa itself is tested with: the build for the CPU.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
there=${HANSA_PEERS:-$here/.peers}
python=${PYTHON:-python3}

mkdir -p "$there"
grep -E '^(torch|numpy)==' "$here/../constraints.txt" > "$there/constraints.txt"
torch=$(grep '^torch==' "$there/constraints.txt")

for name in "${@:-flower pfl}"; do
    for peer in $name; do
        case $peer in
            flower) wanted='flwr[simulation]' ;;
            pfl) wanted='pfl[pytorch]' ;;
            tenseal) wanted='tenseal' ;;
            p2pfl) wanted='p2pfl[torch]' ;; # refused by pip as long as it requires numpy<2 and torchvision<0.18
            *) echo "There is no peer called $peer: write flower, pfl, tenseal or p2pfl." >&2; exit 1 ;;
        esac
        "$python" -m venv --clear "$there/$peer"
        "$there/$peer/bin/python" -m pip --disable-pip-version-check install --quiet --no-compile \
            --constraint "$there/constraints.txt" "$torch" numpy "$wanted"
        "$there/$peer/bin/python" -m pip --disable-pip-version-check list --format=freeze > "$there/$peer/versions.txt"
        grep -iE '^(flwr|ray|pfl|tenseal|p2pfl|torch|numpy)==' "$there/$peer/versions.txt"
    done
done
