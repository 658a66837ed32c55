#!/usr/bin/env bash
# Start Ray here, as the head, and over SSH on other machines; they stay up until ./ssh.sh stop WORKER...
#
#   ./ssh.sh start HEAD_ADDRESS WORKER...     HEAD_ADDRESS: this machine's, in a network that only you can reach
#   ./ssh.sh stop WORKER...
#
# Every machine needs the same Python, the same kdsearch with its extra ray in VENV (default: ~/kdsearch/.venv), and SSH
# without a password. The token that keeps others out is Ray's own, in ~/.ray/auth_token.
set -euo pipefail

VENV=${VENV:-kdsearch/.venv}
PORT=${PORT:-6379}
export RAY_AUTH_MODE=token

action=${1:?start or stop}
shift
case $action in
    start)
        head=${1:?the address of this machine}
        shift
        "$HOME/$VENV/bin/ray" get-auth-token --generate > /dev/null
        "$HOME/$VENV/bin/ray" start --head --node-ip-address "$head" --port "$PORT" --include-dashboard false
        for worker in "$@"; do
            ssh "$worker" 'umask 077 && mkdir -p ~/.ray && cat > ~/.ray/auth_token' < ~/.ray/auth_token
            ssh "$worker" "RAY_AUTH_MODE=token $VENV/bin/ray start --address $head:$PORT"
        done
        echo "run with: --engine ray --address $head:$PORT"
        ;;
    stop)
        for worker in "$@"; do
            ssh "$worker" "$VENV/bin/ray stop"
        done
        "$HOME/$VENV/bin/ray" stop
        ;;
    *)
        echo "start or stop, not $action" >&2
        exit 2
        ;;
esac
