#!/bin/sh
# A cutover's hook that holds, resumes and flips what goes through a PgBouncer. In restage.yaml:
#
#   cutover: { hook: { command: ["sh", "pgbouncer-hook.sh"], timeoutMs: 10000 } }
#
# PGBOUNCER_CONSOLE   postgresql://admin@127.0.0.1:6432/pgbouncer, of a user in admin_users
# PGBOUNCER_DATABASE  the name under which clients know the database
# PGBOUNCER_INCLUDE   a file that pgbouncer.ini names: [databases] %include /etc/pgbouncer/live.ini
# SOURCE_ENTRY, TARGET_ENTRY   what that file then says: "host=db1 port=5432 dbname=shop"
#
# PAUSE waits for running transactions, in session pooling for sessions: within timeoutMs, or the switch is undone. Clients wait meanwhile and see
# no error. Each event may come more than once.
set -eu

console() { psql "$PGBOUNCER_CONSOLE" -X -A -v ON_ERROR_STOP=1 -c "$1"; }

is_paused() {
  console 'SHOW DATABASES' | awk -F '|' -v name="$PGBOUNCER_DATABASE" '
    NR == 1 { for (i = 1; i <= NF; i++) column[$i] = i; next }
    $column["name"] == name { found = $column["paused"] }
    END { exit !(found == 1) }'
}

hold() { is_paused || console "PAUSE $PGBOUNCER_DATABASE"; }
resume() { ! is_paused || console "RESUME $PGBOUNCER_DATABASE"; }

send_to() {
  printf '%s = %s\n' "$PGBOUNCER_DATABASE" "$1" > "$PGBOUNCER_INCLUDE.new"
  mv "$PGBOUNCER_INCLUDE.new" "$PGBOUNCER_INCLUDE"
  console RELOAD
}

case "$RESTAGE_HOOK" in
  *'"event":"hold"'*) hold ;;
  *'"event":"resume"'*) resume ;;
  *'"event":"flip"'*'"live":"target"'*) hold && send_to "$TARGET_ENTRY" && resume ;;
  *'"event":"flip"'*'"live":"source"'*) hold && send_to "$SOURCE_ENTRY" && resume ;;
  *) echo "unknown event: $RESTAGE_HOOK" >&2; exit 2 ;;
esac
