// Publishes and consumes over HTTP, with Go's standard library alone.
//
//	event-replay serve &
//	go run examples/http/go/main.go publish < events.ndjson
//	go run examples/http/go/main.go consume mail
//
// `publish` reads one event a line, and sends each request again until it is answered. `consume` prints the id of each event
// that it handles. Ctrl-C ends it.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

var server = "http://127.0.0.1:7070"

type problem struct {
	Detail string `json:"detail"`
	Hint   string `json:"hint"`
	Retry  string `json:"retry"`
}

func (p problem) Error() string { return p.Detail + " " + p.Hint }

// post sends a body, and reads the answer. A refusal is an error of the type problem.
func post(path, media string, body []byte, into any) error {
	answer, err := http.Post(server+path, media, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	// A body that is read to its end leaves the connection open for the next request.
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		var refused problem
		if err := json.Unmarshal(text, &refused); err != nil {
			return err
		}
		return refused
	}
	return json.Unmarshal(text, into)
}

type report struct {
	Stored        int               `json:"stored"`
	AlreadyStored int               `json:"alreadyStored"`
	Rejected      int               `json:"rejected"`
	Conflicts     int               `json:"conflicts"`
	Errors        []json.RawMessage `json:"errors,omitempty"`
}

// send publishes lines, and repeats until there is an answer: the server may have stored the events or not.
func send(lines []byte) (report, error) {
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		var got report
		err := post("/v1/events?partial=ok", "application/x-ndjson", lines, &got)
		if err == nil {
			return got, nil
		}
		var refused problem
		if errors.As(err, &refused) && refused.Retry == "never" {
			return got, refused
		}
		time.Sleep(pause)
	}
}

func min(a, b time.Duration) time.Duration {
	if a < b {
		return a
	}
	return b
}

func publish() error {
	const most = 500
	var sums report
	var lines bytes.Buffer
	count := 0
	flush := func() error {
		if count == 0 {
			return nil
		}
		got, err := send(lines.Bytes())
		for _, one := range got.Errors {
			fmt.Fprintln(os.Stderr, string(one))
		}
		sums.Stored += got.Stored
		sums.AlreadyStored += got.AlreadyStored
		sums.Rejected += got.Rejected
		sums.Conflicts += got.Conflicts
		lines.Reset()
		count = 0
		return err
	}
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 2<<20)
	for input.Scan() {
		lines.Write(input.Bytes())
		lines.WriteByte('\n')
		if count++; count == most {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := input.Err(); err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(sums)
}

type delivery struct {
	Event struct {
		ID string `json:"id"`
	} `json:"event"`
	Receipt string `json:"receipt"`
}

type settlement struct {
	Receipt string `json:"receipt"`
	Outcome string `json:"outcome"`
	Error   string `json:"error,omitempty"`
}

// handle is the work of the service. It may get an event more than once.
func handle(one delivery) error {
	_, err := fmt.Println(one.Event.ID)
	return err
}

func consume(group string, untilEmpty bool) error {
	wait := 30
	if untilEmpty {
		wait = 5
	}
	request := []byte(fmt.Sprintf(`{"max": 16, "wait": %d}`, wait))
	for {
		var fetched struct {
			Deliveries []delivery `json:"deliveries"`
		}
		if err := post("/v1/groups/"+group+"/fetch", "application/json", request, &fetched); err != nil {
			return err
		}
		if len(fetched.Deliveries) == 0 {
			if untilEmpty {
				return nil
			}
			continue
		}
		var settlements []settlement
		for _, one := range fetched.Deliveries {
			done := settlement{Receipt: one.Receipt, Outcome: "ok"}
			// What fails is tried again, and is then a dead letter.
			if err := handle(one); err != nil {
				done.Outcome, done.Error = "retry", err.Error()
			}
			settlements = append(settlements, done)
		}
		body, err := json.Marshal(settlements)
		if err != nil {
			return err
		}
		var settled any
		if err := post("/v1/groups/"+group+"/settle", "application/json", body, &settled); err != nil {
			return err
		}
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "publish":
		return publish()
	case len(args) >= 2 && args[0] == "consume":
		return consume(args[1], len(args) > 2 && args[2] == "--until-empty")
	default:
		return errors.New("usage: main publish | main consume GROUP [--until-empty]")
	}
}

func main() {
	if url := os.Getenv("EVENT_REPLAY_URL"); url != "" {
		server = url
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
