// Reads a Nomad job or a compose file as Nomad and Docker Compose do, strictly: what they refuse is printed, and the exit
// code is 1. Of a compose file it prints, as JSON, what Docker Compose makes of it.
//
//	checker nomad FILE
//	checker compose FILE
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/hashicorp/nomad/jobspec2"
)

func nomad(path string) error {
	body, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	_, err = jobspec2.ParseWithConfig(&jobspec2.ParseConfig{Path: path, Body: body, Strict: true})
	return err
}

func compose(path string) error {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithName("checked"))
	if err != nil {
		return err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return err
	}
	meant, err := project.MarshalJSON()
	fmt.Println(string(meant))
	return err
}

func main() {
	read := map[string]func(string) error{"nomad": nomad, "compose": compose}
	if len(os.Args) != 3 || read[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: checker nomad|compose FILE")
		os.Exit(2)
	}
	if err := read[os.Args[1]](os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
