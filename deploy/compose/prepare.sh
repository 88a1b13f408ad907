#!/usr/bin/env bash
# Makes what compose.yaml needs beside itself: keys, certificates and rights in auth/, folders for data and films, and .env.
# Running it again changes nothing that is there already. mcpctl is looked for in MCPCTL, then in PATH, then in target/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

mcpctl=${MCPCTL:-$(type -P mcpctl || true)}
for built in ../../target/release/mcpctl ../../target/debug/mcpctl; do
    [[ -n $mcpctl ]] || { [[ -x $built ]] && mcpctl=$built; }
done
[[ -n $mcpctl ]] || { echo "prepare.sh: there is no mcpctl: cargo build --release -p mcpctl" >&2; exit 1; }

umask 077
auth() { "$mcpctl" auth --dir auth "$@" >/dev/null; }

auth init --host nats-1 --host nats-2 --host nats-3 --server-path /etc/nats/auth
auth agent add content_agent
auth agent add visual_agent --payloads
auth agent add audio_agent --payloads
auth agent add editing_agent --payloads
# The director runs the workflow `video` and asks the others.
auth agent add director_agent --runs video --payloads \
    --commands content_agent,visual_agent,audio_agent,editing_agent
# Who orders films from this machine: MCP_AUTH=auth/identities/mcp/customer mcpctl …
auth agent add customer --client --commands director_agent --drives video

[[ -s auth/grafana-password ]] || od -An -N18 -tx1 /dev/urandom | tr -d ' \n' >auth/grafana-password
# Grafana has a user of its own, which has to read it. Around it, auth/ is closed.
chmod 644 auth/grafana-password
mkdir -p data/nats-1 data/nats-2 data/nats-3 films
user=$(id -u) group=$(id -g)
if ((user == 0)); then
    # Nothing in a container is to be root.
    user=65532 group=65532
    chown -R "$user:$group" auth data films
fi
printf 'MCP_UID=%s\nMCP_GID=%s\n' "$user" "$group" >.env
echo "ready; next: docker compose up -d --build --scale visual_agent=3"
