#!/bin/bash
# virtproof as a commissioning script of MAAS (docs/fleet.md, "MAAS").  Put virtproof.pyz and virtproof-collect.pyz
# (make bundle) where machines can fetch them, and that address below.  Standard output is run.json, or a snapshot
# where Python is older than 3.11; standard error says why.
#
# --- Start MAAS 1.0 script metadata ---
# name: 90-virtproof
# title: Does hardware virtualization really work?
# description: Probes the host, boots small guests on its KVM, and judges it by a profile.
# script_type: commissioning
# hardware_type: cpu
# parallel: disabled
# timeout: 00:30:00
# packages:
#   url:
#     - http://maas.example/virtproof.pyz
#     - http://maas.example/virtproof-collect.pyz
# results:
#   verdict:
#     title: Verdict
#     description: compliant, not compliant, unknown, collected only, or no verdict
# --- End MAAS 1.0 script metadata ---
set -u

here=${DOWNLOAD_PATH:-$PWD}
result=${RESULT_PATH:-/dev/null}

finish() { # verdict, status of MAAS, exit code
    printf 'status: %s\nresults:\n  verdict: %s\n' "$2" "$1" >"$result"
    exit "$3"
}

if python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    out=$(mktemp -d)
    sudo python3 "$here/virtproof.pyz" check --profile kvm-host --gate profile --json --out "$out"
    case $? in
        0) finish compliant passed 0 ;;
        3) finish 'not compliant' failed 1 ;;
        5) finish unknown degraded 0 ;;
        *) finish 'no verdict' failed 1 ;;
    esac
fi
echo 'Python is older than 3.11 here: a snapshot is taken, for virtproof judge elsewhere; no guest runs.' >&2
sudo python3 "$here/virtproof-collect.pyz" || finish 'no verdict' failed 1
finish 'collected only' degraded 0
