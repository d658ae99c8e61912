// Holds a dashboard against Grafana's own model of one: every field known, none missing, and every value one that it takes.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	// Those that it uses; of another kind of panel the model would not know the options, so it is refused below.
	panels := cog.NewRuntime()
	panels.RegisterPanelcfgVariant(bargauge.VariantConfig())
	panels.RegisterPanelcfgVariant(stat.VariantConfig())
	panels.RegisterPanelcfgVariant(statetimeline.VariantConfig())
	panels.RegisterPanelcfgVariant(timeseries.VariantConfig())
	panels.RegisterDataqueryVariant(prometheus.VariantConfig())

	text, err := os.ReadFile(os.Args[1])
	refuse(err)
	strict, read := dashboard.Dashboard{}, dashboard.Dashboard{}
	refuse(strict.UnmarshalJSONStrict(text)) // keeps no panel
	refuse(json.Unmarshal(text, &read))
	refuse(read.Validate())
	for _, panel := range read.Panels {
		if _, known := panel.Panel.Options.(map[string]any); known || len(panel.Panel.Targets) == 0 {
			refuse(fmt.Errorf("%s: a panel of an unknown kind, or without a question", *panel.Panel.Title))
		}
		for _, target := range panel.Panel.Targets {
			if target.DataqueryType() != "prometheus" {
				refuse(fmt.Errorf("%s: asks no Prometheus", *panel.Panel.Title))
			}
		}
	}
}

// refuse ends with what is wrong; the model's errors may be an empty list that is not nil.
func refuse(err error) {
	if err != nil && strings.TrimSpace(err.Error()) != "" {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
