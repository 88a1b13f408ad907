# Part of run.sh: the NATS servers' configuration of compose, read by a nats-server.
if server=$(deploy/scripts/nats-server.sh 2>/dev/null); then
    cp deploy/compose/nats.conf "$work/nats.conf"
    mkdir -p "$work/auth"
    mcpctl=${CARGO_TARGET_DIR:-target}/debug/mcpctl
    if [[ -x $mcpctl ]] && "$mcpctl" auth --help >/dev/null 2>&1; then
        # For real: what prepare.sh makes, at the place where it is.
        mkdir -p "$work/compose/deploy/compose"
        cp deploy/compose/prepare.sh "$work/compose/deploy/compose/"
        check "prepare.sh makes the identities" \
            env -u MCP_NATS_URL MCPCTL="$(realpath "$mcpctl")" bash "$work/compose/deploy/compose/prepare.sh"
        if [[ -d $work/compose/deploy/compose/auth/server ]]; then
            rm -r "$work/auth"
            mv "$work/compose/deploy/compose/auth/server" "$work/auth"
            sed -i "s#/etc/nats/auth#$work/auth#" "$work/auth/"*.conf
        fi
    else
        skip "the servers' accounts and TLS: mcpctl is not built"
        touch "$work/auth/"{accounts,tls,cluster-tls}.conf
    fi
    check "nats.conf, read by $("$server" --version)" env NATS_NAME=nats-1 "$server" -t -c "$work/nats.conf"
else
    skip "nats.conf: there is no nats-server (make nats-server)"
fi
