// Grafana's own model of a dashboard, from which tests/setup builds the judge of config/grafana/dashboard.json.
module dashboard

go 1.21

require github.com/grafana/grafana-foundation-sdk/go v0.0.22
