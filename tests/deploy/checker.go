// Reads a Nomad job or a compose file as Nomad and Docker Compose do, strictly, and prints as JSON what they make of it.
// What they refuse is printed, and the exit code is 1.
//
//	checker nomad FILE [VARIABLE=VALUE ...]
//	checker compose FILE
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/hashicorp/nomad/jobspec2"
)

func nomad(path string, variables []string) (any, error) {
	body, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: path, Body: body, ArgVars: variables, Strict: true})
}

func compose(path string, _ []string) (any, error) {
	options, err := cli.NewProjectOptions([]string{path})
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}

func main() {
	readers := map[string]func(string, []string) (any, error){"nomad": nomad, "compose": compose}
	if len(os.Args) < 3 || readers[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: checker nomad|compose FILE [VARIABLE=VALUE ...]")
		os.Exit(2)
	}
	meant, err := readers[os.Args[1]](os.Args[2], os.Args[3:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(meant)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
