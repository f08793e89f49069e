// Command driver is a driver around franz-go: it reads requests from standard input, one JSON
// object a line, does what they say, and prints the answers. The protocol is in
// xtask/clients/README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

const timeout = 60 * time.Second

// request holds the fields of every operation; each uses its own.
type request struct {
	Op         string             `json:"op"`
	Topic      string             `json:"topic"`
	Partition  int32              `json:"partition"`
	Codec      string             `json:"codec"`
	Acks       string             `json:"acks"`
	Idempotent bool               `json:"idempotent"`
	Records    []record           `json:"records"`
	From       int64              `json:"from"`
	Count      int                `json:"count"`
	TimeoutMs  int                `json:"timeout_ms"`
	Timestamp  int64              `json:"timestamp"`
	Group      string             `json:"group"`
	SessionMs  int                `json:"session_timeout_ms"`
	Ms         int                `json:"ms"`
	Partitions int32              `json:"partitions"`
	Total      int                `json:"total"`
	Before     int64              `json:"before"`
	Configs    map[string]*string `json:"configs"`
	Replicas   []int32            `json:"replicas"`
	Rack       string             `json:"rack"`
}

// answer is one of its fields.
type answer struct {
	OK    any      `json:"ok"`
	Error *refusal `json:"error,omitempty"`
}

// refusal is an error, with Kafka's code where there is one.
type refusal struct {
	Code *int16 `json:"code"`
	Text string `json:"text"`
}

type operation func(context.Context, request) (any, error)

func main() {
	if err := serve(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(bootstrap string) error {
	driver, err := newDriver(bootstrap)
	if err != nil {
		return err
	}
	operations := driver.operations()
	lines := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil // the harness is done
		}
		var req request
		if err := json.Unmarshal(line, &req); err != nil {
			return err
		}
		if err := out.Encode(run(operations[req.Op], req)); err != nil {
			return err
		}
	}
}

func run(do operation, req request) answer {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	result, err := do(ctx, req)
	if err == nil {
		return answer{OK: result}
	}
	refused := &refusal{Text: err.Error()}
	if known := (*kerr.Error)(nil); errors.As(err, &known) {
		refused.Code = &known.Code
	}
	return answer{Error: refused}
}

func hello(context.Context, request) (any, error) {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/twmb/franz-go" {
				version = module.Version
			}
		}
	}
	return map[string]any{
		"client": "franz-go " + version,
		"codecs": []string{"none", "gzip", "snappy", "lz4", "zstd"},
		"lacks":  []string{},
		"offers": []string{"replicas", "racks"},
	}, nil
}
