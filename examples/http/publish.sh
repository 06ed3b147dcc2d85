#!/bin/sh
# Publishes events over HTTP with curl alone.
#
#     event-replay serve &
#     sh examples/http/publish.sh < events.ndjson
#
# Reads one event a line. Each request is sent again until it is answered: an event that was stored before is not stored twice.

server=${EVENT_REPLAY_URL:-http://127.0.0.1:7070}
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

split -l 500 -a 6 - "$folder/part-" || exit 1
for part in "$folder"/part-*; do
    [ -e "$part" ] || exit 0
    tries=0
    until curl -sS --fail-with-body -H 'content-type: application/x-ndjson' --data-binary "@$part" \
        "$server/v1/events?partial=ok"; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || exit 1
        sleep 1
    done
done
