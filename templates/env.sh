# Environment of OpenHA on this node: source it, as in `. $EZ/env.sh`.
# Every variable may be set beforehand, to use another place.
EZ=${EZ:-@EZ@}
EZ_BIN=${EZ_BIN:-@EZ_BIN@}
EZ_CONF=${EZ_CONF:-@EZ_CONF@}
EZ_VAR=${EZ_VAR:-@EZ_VAR@}
EZ_LOG=${EZ_LOG:-@EZ_LOG@}
EZ_SERVICES=${EZ_SERVICES:-$EZ_CONF/services}
EZ_NODES=${EZ_NODES:-$EZ_CONF/nodes}
EZ_MONITOR=${EZ_MONITOR:-$EZ_CONF/monitor}
export EZ EZ_BIN EZ_CONF EZ_VAR EZ_LOG EZ_SERVICES EZ_NODES EZ_MONITOR
@AGENT@
# Functions instead of aliases: they work in scripts too.
openha() { "$EZ_BIN/openha" "$@"; }
ez_ps() { "$EZ_BIN/openha" ps; }
ez_svc_status() {
    echo "=> Querying OpenHA services status [$EZ_BIN/service -s -c]"
    "$EZ_BIN/service" -s -c
}
ez_hb_status() {
    echo "=> Querying OpenHA heartbeat status [$EZ_BIN/hb -s]"
    "$EZ_BIN/hb" -s
}
