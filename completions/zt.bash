# bash completion for zt; made by python -m ztcli.completion

_zt_known_networks() {
    sed -nE '/^ *network *=/d; s/^ *"?([A-Za-z_][A-Za-z0-9_-]*)"? *[:=] *"[0-9a-fA-F]{16}".*/\1/p' "${XDG_STATE_HOME:-$HOME/.local/state}"/zt/*/names.json \
        "${XDG_CONFIG_HOME:-$HOME/.config}/zt/config.toml" 2>/dev/null
}

_zt_known_hosts() {
    sed -nE 's/^ *"?([A-Za-z0-9_][A-Za-z0-9_.-]*)"? *[:=] *"([0-9]+(\.[0-9]+){3}|[0-9a-fA-F]*:[0-9a-fA-F:.]*|[0-9a-fA-F]{10})" *,? *(#.*)?$/\1/p' "${XDG_STATE_HOME:-$HOME/.local/state}"/zt/*/names.json \
        "${XDG_CONFIG_HOME:-$HOME/.config}/zt/config.toml" 2>/dev/null
}

_zt() {
    local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
    local path="" word words i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        case "$path $word" in
            " call") path="call" ;;
            " nc") path="nc" ;;
            " listen") path="listen" ;;
            " udp-listen") path="udp-listen" ;;
            " udp-send") path="udp-send" ;;
            " expose") path="expose" ;;
            " forward") path="forward" ;;
            " proxy") path="proxy" ;;
            " up") path="up" ;;
            " run") path="run" ;;
            " ssh") path="ssh" ;;
            " ssh-config") path="ssh-config" ;;
            " join") path="join" ;;
            " leave") path="leave" ;;
            " networks") path="networks" ;;
            " host") path="host" ;;
            "host add") path="host add" ;;
            "host rm") path="host rm" ;;
            "host list") path="host list" ;;
            " wait") path="wait" ;;
            " ip") path="ip" ;;
            " status") path="status" ;;
            " peers") path="peers" ;;
            " ping") path="ping" ;;
            " netcheck") path="netcheck" ;;
            " bond") path="bond" ;;
            "bond list") path="bond list" ;;
            "bond show") path="bond show" ;;
            " bench") path="bench" ;;
            " selftest") path="selftest" ;;
            " config") path="config" ;;
            "config show") path="config show" ;;
            "config check") path="config check" ;;
            " identity") path="identity" ;;
            "identity new") path="identity new" ;;
            "identity show") path="identity show" ;;
            "identity validate") path="identity validate" ;;
            " network") path="network" ;;
            "network create") path="network create" ;;
            "network set") path="network set" ;;
            "network list") path="network list" ;;
            "network show") path="network show" ;;
            "network delete") path="network delete" ;;
            "network members") path="network members" ;;
            "network authorize") path="network authorize" ;;
            "network deauthorize") path="network deauthorize" ;;
            "network rules") path="network rules" ;;
            "network alias") path="network alias" ;;
            "network adhoc") path="network adhoc" ;;
            " controller") path="controller" ;;
            "controller run") path="controller run" ;;
            " planet") path="planet" ;;
            "planet make") path="planet make" ;;
            "planet show") path="planet show" ;;
            " moon") path="moon" ;;
            "moon orbit") path="moon orbit" ;;
            "moon deorbit") path="moon deorbit" ;;
            "moon list") path="moon list" ;;
            "moon make") path="moon make" ;;
            " root") path="root" ;;
            "root run") path="root run" ;;
            " lab") path="lab" ;;
            "lab up") path="lab up" ;;
            " completion") path="completion" ;;
            "completion show") path="completion show" ;;
            " man") path="man" ;;
            " help") path="help" ;;
            " version") path="version" ;;
        esac
    done
    case "$previous" in
        --format)
            mapfile -t COMPREPLY < <(compgen -W "line raw hex json" -- "$current")
            return ;;
        --mode)
            mapfile -t COMPREPLY < <(compgen -W "auto http tcp" -- "$current")
            return ;;
        --print)
            mapfile -t COMPREPLY < <(compgen -W "ip json env" -- "$current")
            return ;;
        --network|-n)
            mapfile -t COMPREPLY < <(compgen -W "$(_zt_known_networks)" -- "$current")
            return ;;
        --cacert|--cert|--dir|--identity-file|--key|--output|--password-file|--planet|--ready-file|--save|--sign-with|--state|--upload-file)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return ;;
    esac
    case "$path" in
        "") words="call nc listen udp-listen udp-send expose forward proxy up run ssh ssh-config join leave networks host wait ip status peers ping netcheck bond bench selftest config identity network controller planet moon root lab completion man help version --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "call") words="--url --stdio --test -z --send-only --recv-only --no-stdin --no-shutdown --keep-sending --idle-timeout --linger --crlf --delay --source -s --source-port -p -4 -6 --exec --sh --tls --cacert --cert --key --servername --alpn --insecure -k --request -X --header -H --data -d --data-raw --data-binary --json-data --form -F --upload-file -T --include -i --head -I --output -o --remote-name -O --location -L --max-redirs --fail -f --fail-with-body --user -u --password-file --user-agent -A --compressed --resolve --retry --retry-delay --retry-connrefused --retry-max-time --write-out -w --http1.1 --http --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "nc") words="--url --stdio --test -z --send-only --recv-only --no-stdin --no-shutdown --keep-sending --idle-timeout --linger --crlf --delay --source -s --source-port -p -4 -6 --exec --sh --tls --cacert --cert --key --servername --alpn --insecure -k --request -X --header -H --data -d --data-raw --data-binary --json-data --form -F --upload-file -T --include -i --head -I --output -o --remote-name -O --location -L --max-redirs --fail -f --fail-with-body --user -u --password-file --user-agent -A --compressed --resolve --retry --retry-delay --retry-connrefused --retry-max-time --write-out -w --http1.1 --http --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "listen") words="--mode --tcp --body-bytes --status --header --body --dir --save --requests --keep-open -k --serial --parallel --exec --sh --echo --discard --send-only --recv-only --no-stdin --tls --cert --key --once --max-conns --allow --deny --allow-any --idle-timeout --grace --ready-file --ready-fd --health --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "udp-listen") words="--no-pong --reply --echo --exec --count --once --format --allow --deny --allow-any --group --ready-file --ready-fd --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "udp-send") words="--to --data --lines --hex --repeat --interval --wait --count --source-port --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "expose") words="--listen --to --udp --allow --deny --max-conns --proxy-protocol --check --idle-timeout --udp-idle --grace --ready-file --ready-fd --health --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "forward") words="--max-conns --idle-timeout --udp-idle --grace --open-browser --ready-file --ready-fd --health --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "proxy") words="--listen --auth-file --allow-ports --max-conns --idle-timeout --grace --ready-file --ready-fd --health --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "up") words="--dry-run --ready-file --ready-fd --health --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "run") words="--allow-ports --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "ssh") words="--help -h" ;;
        "ssh-config") words="--host --install --help -h" ;;
        "join") words="--once --print --ready-file --ready-fd --health --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "leave") words="--forget --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "networks") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "host") words="add rm list --help -h" ;;
        "host add") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "host rm") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "host list") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "wait") words="--for --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "ip") words="-4 -6 --all --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "status") words="--watch --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "peers") words="--active --watch --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "ping") words="--count -c --interval -i --timeout --until-direct --icmp --tcp --size --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "netcheck") words="--every --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "bond") words="list show --help -h" ;;
        "bond list") words="--watch --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "bond show") words="--watch --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "bench") words="--reverse --parallel --time --bytes --via-relay --allow --deny --max-conns --ready-file --ready-fd --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "selftest") words="--deep --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "config") words="show check --help -h" ;;
        "config show") words="--origin --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "config check") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "identity") words="new show validate --help -h" ;;
        "identity new") words="--force --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "identity show") words="--secret --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "identity validate") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "network") words="create set list show delete members authorize deauthorize rules alias adhoc --help -h" ;;
        "network create") words="--controller --token-file --name --pool --public --no-rfc4193 --6plane --mtu --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --pcap --pcap-wire --help -h" ;;
        "network set") words="--controller --token-file --name --private --mtu --pool --route --dns --rfc4193 --6plane --broadcast --multicast-limit --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --pcap --pcap-wire --help -h" ;;
        "network list") words="--controller --token-file --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --pcap --pcap-wire --help -h" ;;
        "network show") words="--controller --token-file --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --pcap --pcap-wire --help -h" ;;
        "network delete") words="--controller --token-file --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --pcap --pcap-wire --help -h" ;;
        "network members") words="--controller --token-file --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --pcap --pcap-wire --help -h" ;;
        "network authorize") words="--controller --token-file --name --ip --bridge --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --pcap --pcap-wire --help -h" ;;
        "network deauthorize") words="--controller --token-file --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --pcap --pcap-wire --help -h" ;;
        "network rules") words="--controller --token-file --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --pcap --pcap-wire --help -h" ;;
        "network alias") words="--rm --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "network adhoc") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "controller") words="run --help -h" ;;
        "controller run") words="--api-port --ready-file --ready-fd --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "planet") words="make show --help -h" ;;
        "planet make") words="--root --sign-with --output -o --force --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "planet show") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "moon") words="orbit deorbit list make --help -h" ;;
        "moon orbit") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "moon deorbit") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "moon list") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "moon make") words="--root --sign-with --output -o --id --force --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "root") words="run --help -h" ;;
        "root run") words="--ready-file --ready-fd --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "lab") words="up --help -h" ;;
        "lab up") words="--env --host --port --pool --private --ready-file --ready-fd --network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "completion") words="show --help -h" ;;
        "completion show") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "man") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "help") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
        "version") words="--network -n --state --profile --ephemeral --identity-file --stack --planet --bind-udp --timeout --join-timeout --connect-timeout --wait-auth --insecure-state --json --quiet -q --verbose -v --color --no-progress --trace --multipath --mp-bond --mp-udp-sockets --mp-udp-ports --mp-warmup-root --mp-bind --transport --udp-port --advertise --peer --map-ip --config --moon --relay --port-mapping --authorize --token-file --controller --pcap --pcap-wire --help -h" ;;
    esac
    case "$path" in
        "join"|"leave") words="$words $(_zt_known_networks)" ;;
        "call"|"nc"|"ping"|"ssh"|"host rm") words="$words $(_zt_known_hosts)" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o default -F _zt zt
