#!/bin/sh
# Consumes a group over HTTP, one event at a time, with curl and sed alone.
#
#     event-replay serve &
#     sh examples/http/consume.sh mail
#
# Prints the id of each event that it handles. Ctrl-C ends it.

server=${EVENT_REPLAY_URL:-http://127.0.0.1:7070}
group=$1
wait=30
[ "$2" = --until-empty ] && wait=5

post() {
    curl -sS --fail-with-body -H 'content-type: application/json' --data "$2" "$server$1"
}

while :; do
    delivery=$(post "/v1/groups/$group/fetch" "{\"max\": 1, \"wait\": $wait}") || exit 1
    receipt=$(printf '%s' "$delivery" | sed -n 's/.*"receipt":"\([^"]*\)".*/\1/p')
    if [ -z "$receipt" ]; then
        [ "$wait" = 5 ] && exit 0
        continue
    fi
    # What the service does with an event goes here. It may get one more than once.
    printf '%s\n' "$delivery" | sed -n 's/.*{"event":{[^}]*"id":"\([^"]*\)".*/\1/p'
    post "/v1/groups/$group/settle" "[{\"receipt\": \"$receipt\", \"outcome\": \"ok\"}]" > /dev/null || exit 1
done
