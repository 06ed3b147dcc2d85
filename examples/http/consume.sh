#!/bin/sh
# Consumes a group over HTTP, up to 16 events a request, with curl and awk alone.
#
#     event-replay serve &
#     sh examples/http/consume.sh mail
#
# Prints the id of each event that it handles. Ctrl-C ends it.

server=${EVENT_REPLAY_URL:-http://127.0.0.1:7070}
group=$1
wait=30
[ "$2" = --until-empty ] && wait=5
exec 3>&1

# What the service does with an event. It may get one more than once. $1 is the id as JSON writes it, $2 the delivery: {"event":{…},…}.
handle() {
    printf '%s\n' "$1"
}

post() {
    curl -sS --fail-with-body -H 'content-type: application/json' --data-binary @- "$server$1"
}

# One delivery a line: its receipt, the id of its event, and itself, with tabs between: JSON has none within strings. The answer is cut at
# its quotes. So every other piece is a string, and only the pieces between strings have brackets that count.
deliveries() {
    LC_ALL=C awk '
        { gsub(/\t/, " "); all = all $0 " " }
        END {
            n = split(all, piece, "\"")
            for (i = 1; i <= n; i++) {
                size = length(piece[i])
                if (inside) {
                    for (slashes = 0; substr(piece[i], size - slashes, 1) == "\\"; slashes++);
                    if (slashes % 2 == 0) { # else the quote is escaped, and the string goes on
                        inside = 0
                        text = depth == 3 || depth == 4 ? substr(all, from, at + size - from + 1) : ""
                        if (piece[i + 1] ~ /^[ \r]*:/) key[depth] = text
                        else if (depth == 3 && key[3] == "receipt") receipt = text
                        else if (depth == 4 && key[3] == "event" && key[4] == "id") id = text
                    }
                } else {
                    for (c = 1; c <= size; c++) {
                        sign = substr(piece[i], c, 1)
                        if (sign == "{" || sign == "[") {
                            key[++depth] = ""
                            if (depth == 3) start = at + c
                        } else if (sign == "}" || sign == "]") {
                            if (depth-- == 3) print receipt "\t" id "\t" substr(all, start, at + c - start + 1)
                        }
                    }
                    inside = 1
                    from = at + size + 2
                }
                at += size + 1
            }
        }'
}

while :; do
    fetched=$(printf '{"max": 16, "wait": %s}' "$wait" | post "/v1/groups/$group/fetch") || exit 1
    settlements=$(printf '%s' "$fetched" | deliveries | while IFS='	' read -r receipt id delivery; do
        outcome=ok
        # What fails is tried again, and is then a dead letter.
        handle "$id" "$delivery" >&3 < /dev/null || outcome=retry
        printf ',{"receipt":"%s","outcome":"%s"}' "$receipt" "$outcome"
    done)
    if [ -n "$settlements" ]; then
        printf '[%s]' "${settlements#,}" | post "/v1/groups/$group/settle" > /dev/null || exit 1
    elif [ "$wait" = 5 ]; then
        exit 0
    fi
done
